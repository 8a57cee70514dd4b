"""Who acts, who learns, and what keeps the two in step."""
