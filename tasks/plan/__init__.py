"""A row to the request that is sent for it."""
