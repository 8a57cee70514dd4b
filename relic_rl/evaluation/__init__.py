"""A run's agent at play: scored, or filmed."""
