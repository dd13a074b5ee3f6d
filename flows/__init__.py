"""Flows: what runs, and in which order. The Prefect flows, the commands, and the text that people read."""
