"""The verbs of the command line: their arguments, and what each does around the work itself."""
