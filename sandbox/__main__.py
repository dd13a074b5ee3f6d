"""`rowmill sandbox`: a local gateway that speaks both protocols, with faults on request."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rowmill.sandbox.faults import KINDS
from rowmill.sandbox.server import Sandbox
from rowmill.sandbox.settings import Settings, changed

MOST_PORT = 65_535
EPILOG = f"""A prompt that contains [[fault:KIND]] always meets that fault, [[fault:KIND*2]] the first two times.
Kinds: {", ".join(sorted(KINDS))}.
While it runs: GET /sandbox/books (?detail=1), POST /sandbox/settings with JSON, POST /sandbox/books/reset."""


STARTED = """rowmill's sandbox listens on {base_url}. Nothing is paid. To use it:
  export ROWMILL_BASE_URL={base_url} ROWMILL_API_KEY=sk-sandbox
Ctrl-C ends it."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="rowmill sandbox",
        description="A local gateway that speaks both protocols. Nothing is paid: it keeps books of its own.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1, 0 for any (default 8765)")
    made.add_argument("--latency-ms", type=float, help="time each answer takes")
    made.add_argument("--latency-spread", type=float, help="spread of the latency, like a sigma (0: none)")
    made.add_argument("--rpm", type=float, help="requests per minute of the key")
    made.add_argument("--tpm", type=float, help="tokens per minute of the key")
    made.add_argument("--limit-window", choices=("sliding", "bucket"), help="how the gateway measures a minute")
    made.add_argument("--spend-limit-usd", help="spend limit of the key")
    made.add_argument("--spend-reset-s", type=float, help="seconds after which the spend limit starts over")
    made.add_argument("--credits", help="balance")
    made.add_argument("--fault", action="append", default=[], metavar="KIND=P", help="a fault and its probability")
    made.add_argument("--seed", type=int, help="seed of the random faults")
    made.add_argument(
        "--settings", default="{}", help="settings as JSON; - reads them from a line of stdin; flags override them"
    )
    made.add_argument("--journal", type=Path, help="append a line for each billed call to this file")
    made.add_argument(
        "--json", action="store_true", help="print address and process id as one JSON object, as into a pipe"
    )
    made.add_argument("--until-stdin-closes", action="store_true", help="exit when standard input ends")
    return made


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from flags. Raises ValueError that names the wrong one."""
    flags = {
        name: value for name in msgspec.to_builtins(Settings()) if (value := getattr(args, name, None)) is not None
    }
    faults = {}
    for pair in args.fault:
        kind, _, chance = pair.partition("=")
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}; known: {', '.join(sorted(KINDS))}")
        faults[kind] = float(chance or 1)
    if faults:
        flags["faults"] = faults
    settings = sys.stdin.readline() if args.settings == "-" else args.settings
    return changed(changed(Settings(), json.loads(settings)), flags)


async def _serve(args: argparse.Namespace, settings: Settings) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    if args.until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), lambda: ended.set() if not os.read(sys.stdin.fileno(), 4096) else None)
    async with Sandbox(settings, args.journal).running(args.port) as sandbox:
        # A script reads the address from the pipe; a person reads a sentence.
        if args.json or not sys.stdout.isatty():
            print(json.dumps({"base_url": sandbox.base_url, "pid": os.getpid()}), flush=True)
        else:
            print(STARTED.format(base_url=sandbox.base_url), flush=True)
        await ended.wait()


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if not 0 <= args.port <= MOST_PORT:
            raise ValueError(f"--port {args.port}: a port is a number from 0 (any free one) to {MOST_PORT}")
        settings = settings_of(args)
        asyncio.run(_serve(args, settings))
    except (ValueError, OSError) as error:
        print(f"rowmill sandbox: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
