"""A model's text to a value that meets the job's schema."""
