"""How cheaply a target can be held: a job's ways of asking, compared on gold rows, and the one that is marked."""
