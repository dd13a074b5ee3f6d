"""How a run's shards are driven, in this process and inside Prefect."""
