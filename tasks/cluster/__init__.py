"""Engine: the shards of a run settled by worker processes elsewhere; one coordinator keeps the books.

The coordinator holds the output, cuts and plans the shards, and writes every part. A worker is given the rows of one
shard that are to be asked, asks them, and writes their journal. Both know each other through the output folder alone:
the engine (Dask, Ray) starts work and brings back its report.
"""
