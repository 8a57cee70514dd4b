"""What is kept of a run: its folder, its tables, its checkpoints, its mirror elsewhere."""
