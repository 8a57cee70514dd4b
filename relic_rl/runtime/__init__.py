"""Acting, learning, and what keeps the two in step."""
