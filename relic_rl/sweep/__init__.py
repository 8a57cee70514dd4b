"""Many runs at once: what was asked, where each runs, and how each of them stands."""
