"""Sentences: what runs, in which order.

Importing this package makes Prefect quiet and offline, unless the user's own environment says otherwise: it must
happen before Prefect is first imported. A worker that runs a deployment has its own settings and is left alone.
"""

import os

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # The embedded server's default of 20 s is too short for a slow disk.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
}

if "PREFECT__FLOW_RUN_ID" not in os.environ:
    for _name, _value in _QUIET.items():
        os.environ.setdefault(_name, _value)
