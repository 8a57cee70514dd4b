"""`relic-rl bench`: known bounds, and how close the product is to them."""
