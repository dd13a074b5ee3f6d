"""What a run leaves on disk, and which of it still holds."""
