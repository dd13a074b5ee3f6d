"""The sandbox: a local gateway that speaks both protocols, with faults on request and books of its own.

It imports schemas only, so that it can be trusted to disagree with the pipeline.
"""
