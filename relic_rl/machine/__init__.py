"""The machine: what of it a process may use, how it is used, and whether it will do."""
