"""View: `rowmill view OUT [OUT_B]`, a page in the browser over every row, served to this machine alone."""

from __future__ import annotations

import argparse
import signal
import socket
import threading
import webbrowser
from contextlib import ExitStack

from rowmill.schemas.errors import ExitCode, JobError
from rowmill.tasks.output.location import in_bucket, output_to_read

HOST = "127.0.0.1"


def view_command(args: argparse.Namespace) -> ExitCode:
    """`rowmill view OUT [OUT_B]`: serves until it is interrupted. Raises OutputError, DamageError, JobError."""
    import uvicorn

    from rowmill.tasks.view.app import view_app

    with ExitStack() as stack:
        outputs = [stack.enter_context(output_to_read(out)) for out in (args.out, args.other) if out is not None]
        # What is written into the copy of a bucket would not be found there.
        app = view_app(outputs, writable=not any(map(in_bucket, [args.out, args.other or ""])))
        listening = stack.enter_context(_socket(args.port))
        address = f"http://{HOST}:{listening.getsockname()[1]}/"
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if not args.no_browser:
            threading.Timer(0.3, webbrowser.open, [address]).start()
        # Uvicorn hands the signal on when it has ended: what the view made of open shards is then deleted.
        signal.signal(signal.SIGTERM, _end)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False))
        server.run(sockets=[listening])
    return ExitCode.OK


def _end(*_: object) -> None:
    raise SystemExit(int(ExitCode.OK))


def _socket(port: int) -> socket.socket:
    """A socket that listens on this machine's loopback address. Raises JobError where the port is not free."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise JobError(
            f"the port cannot be used: {getattr(error, 'strerror', None) or error}",
            where=f"--port {port}",
            hint="leave --port out: a free one is taken then",
        ) from None
    return listening
