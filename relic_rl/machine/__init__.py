"""The machine: what a process may use of it, and whether that is enough for a run."""
