"""Input files to rows, cut into shards; ids and request keys seen so far."""
