"""`relic-rl bench`: known bounds, and how near the product comes to them."""
