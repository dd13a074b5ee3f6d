"""A job split into parts that run for themselves, on any machines, and its parts merged into one output."""
