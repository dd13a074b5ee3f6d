"""Fields of an output: which there are, how they compare with gold, and what several answers about a row agree on."""
