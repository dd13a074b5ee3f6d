"""The two wire protocols: encode and decode, no I/O. One module and a registry line each."""
