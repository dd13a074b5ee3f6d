"""A page in a real browser that takes keys: Chromium's own protocol over a pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium")
# Pressing a key may ask the server for a row: the page is told ready when its address and its table agree.
READY = """new Promise((done) => {
  const ready = () => {
    const told = new URLSearchParams(location.search);
    const chosen = document.querySelector(".fields tr.chosen button");
    const title = document.querySelector("#detail h1");
    if (!told.get("row") || (title && title.textContent === told.get("row") && chosen && chosen.dataset.field === told.get("field")))
      done([told.get("row"), told.get("field")]);
    else setTimeout(ready, 20);
  };
  setTimeout(ready, 150);
})"""

LISTED = "const at = () => document.querySelector('#rows td') ? done() : setTimeout(at, 20); at();"


class Page:
    """One page of a view. Ends the browser that it started."""

    def __init__(self, address: str, folder: Path) -> None:
        assert CHROMIUM is not None
        (read, self._write), (self._read, write) = os.pipe(), os.pipe()

        def wired() -> None:
            # Where the browser looks for its pipe.
            ends = os.dup(read), os.dup(write)
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,900",
             f"--user-data-dir={folder / 'keys'}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=wired, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read)
        os.close(write)
        self._count, self._rest, self._session = 0, b"", ""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        # Answered when the page is the browser's; its script may still have to run.
        self._ask("Page.navigate", url=address)
        self.run(f"new Promise((done) => {{ {LISTED} }})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def run(self, script: str) -> Any:
        """What a script of the page comes to."""
        told = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key: str) -> tuple[str, str]:
        """Press a key; the row and the field that are chosen then."""
        for kind in ("keyDown", "keyUp"):
            self._ask("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")
        row, field = self.run(READY)
        return row, field

    def fields(self, row: str) -> list[str]:
        """The fields of a row in the order in which they are shown."""
        return self.run(f"ask('/api/rows/{row}').then((told) => told.evidence.map((one) => one.field))")

    def _ask(self, method: str, **told: Any) -> Any:
        self._count += 1
        message = {"id": self._count, "method": method, "params": told}
        os.write(
            self._write, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while (answer := self._told()).get("id") != self._count:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _told(self) -> dict[str, Any]:
        """The next message: an answer, or an event."""
        while b"\0" not in self._rest:
            self._rest += os.read(self._read, 1 << 16)
        one, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message
