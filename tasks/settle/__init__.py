"""One request to its outcome: call, validate, retry, vote."""
