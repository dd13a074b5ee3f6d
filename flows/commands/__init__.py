"""The commands: one module each, named by its command, and the arguments they share."""
