"""The machine: clock, event loop, durable files, processes, S3 clients."""
