"""The job file: reading, checking, fingerprint."""
