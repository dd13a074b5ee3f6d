"""Verbs: one stage of the pipeline per module; its listing is the pipeline."""
