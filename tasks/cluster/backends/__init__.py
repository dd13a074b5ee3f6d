"""The clusters that can run workers: one module a backend."""
