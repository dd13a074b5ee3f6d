"""Run a module until standard input is closed, as it is when whoever started it has ended, however that was.

Run as a file, not as a module of rowmill: nothing is imported for it. `until_closed.py MODULE ARGUMENTS...`
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

# For an orderly end; then the process is gone.
GRACE_S = 5.0


def end_with_stdin() -> None:
    """Wait until standard input ends, then end this process as its starter would have."""
    while os.read(0, 4_096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    os._exit(1)


def main() -> None:
    # As `python -m MODULE` has it; the folder of this file would lend its names to other modules.
    sys.path[0] = os.getcwd()
    sys.argv = sys.argv[1:]
    threading.Thread(target=end_with_stdin, daemon=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
