"""From run folders to figures and tables. Needs no torch: a report can be made on any machine."""
