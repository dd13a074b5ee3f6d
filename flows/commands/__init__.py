"""The command line: one module a command, over the parser in `arguments`."""
