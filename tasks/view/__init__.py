"""A page over every row of an output, served to this machine's own browser."""
