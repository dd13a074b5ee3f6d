"""The append-only truth of what is not yet in a part."""
