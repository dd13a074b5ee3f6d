"""App: the page and its JSON over HTTP, for a browser on this machine.

Whatever rows, models and files say is data: JSON for a script of our own that writes it as text. Nothing is loaded
from elsewhere, and a page of another site can neither read this one nor be shown in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from rowmill.schemas.errors import RowmillError
from rowmill.schemas.json_text import JsonTextError, decode_json
from rowmill.tasks.labelling.review_sheet import ReviewSheet
from rowmill.tasks.view.difference import Difference
from rowmill.tasks.view.output import ViewedOutput

STATIC = Path(__file__).parent / "static"
FILES = {
    "/": ("index.html", "text/html"),
    "/view.js": ("view.js", "text/javascript"),
    "/view.css": ("view.css", "text/css"),
}
ROWS_MOST = 10_000
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Texts = Annotated[list[str], Query()]


def view_app(outputs: Sequence[Path], *, writable: bool = True) -> Any:
    """The ASGI application over one output, or two side by side. One output of labels that is `writable` can be
    labelled by people too. Raises OutputError, DamageError.
    """
    viewed = [ViewedOutput(output) for output in outputs]
    sheet = viewed[0].review_sheet() if writable and len(viewed) == 1 else None
    difference = Difference(viewed[0], viewed[1]) if len(viewed) == 2 else None
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    for path, (name, media_type) in FILES.items():
        app.add_api_route(path, _file(name, media_type), methods=["GET"])

    @app.get("/api/about")
    def about() -> Response:
        told: dict[str, Any] = {"outputs": [output.about() for output in viewed], "judges": sheet is not None}
        if difference is not None:
            told |= {"fields": difference.fields(), **difference.counts()}
        return _json(told)

    @app.get("/api/rows")
    def rows(
        search: str = "",
        filter: Texts = [],  # noqa: B006  FastAPI copies it
        contains: Texts = [],  # noqa: B006
        *,
        sort: str = "",
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=0, le=ROWS_MOST)] = 50,
    ) -> Response:
        if difference is not None:
            total, found = difference.page(
                search=search, filters=filter, contains=contains, sort=sort, offset=offset, limit=limit
            )
        else:
            query = viewed[0].query(search=search, filters=filter, contains=contains, sort=sort)
            total, found = viewed[0].page(query, offset, limit)
        return _json({"total": total, "rows": found})

    @app.get("/api/rows/{row_id:path}")
    def row(row_id: str) -> Response:
        found = [output.row(row_id) for output in viewed]
        return _json(found[0] if difference is None else {"row_id": row_id, "a": found[0], "b": found[1]})

    if sheet is not None:
        _add_judgements(app, sheet)

    @app.exception_handler(RowmillError)
    async def refused(_: Request, error: RowmillError) -> Response:
        return JSONResponse({"what": error.what, "where": error.where, "hint": error.hint}, status_code=400)

    return OnThisMachineOnly(app)


def _add_judgements(app: FastAPI, sheet: ReviewSheet) -> None:
    """What people say of rows: read as a whole, written a row at a time."""

    @app.get("/api/judgements")
    def judgements() -> Response:
        return _json(sheet.said())

    # A page of another site may send a form, or text, without asking; not a PUT.
    @app.put("/api/judgements/{row_id:path}")
    async def judge(row_id: str, request: Request) -> Response:
        try:
            told = decode_json(await request.body())
        except JsonTextError:
            told = None
        if not isinstance(told, dict) or "gold" not in told:
            return JSONResponse({"what": 'the body is JSON: {"gold": "a label"}'}, status_code=422)
        return _json({"row_id": row_id, "gold": await asyncio.to_thread(sheet.fill_in, row_id, told["gold"])})


def _file(name: str, media_type: str) -> Callable[[], Awaitable[Response]]:
    content = (STATIC / name).read_bytes()

    async def serve() -> Response:
        return Response(content, media_type=media_type)

    return serve


def _json(value: Any) -> Response:
    """Money as decimal strings, times as ISO text, numbers that JSON cannot hold as null."""
    return Response(msgspec.json.encode(value), media_type="application/json")


class OnThisMachineOnly:
    """Lets requests by that are addressed to this machine, and puts the headers on every answer.

    A page of another site can point a name of its own at 127.0.0.1; the browser then names that name as the host.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"], *((name.encode(), value.encode()) for name, value in HEADERS.items())
                ]  # fmt: skip
            await send(message)

        headers = dict(scope["headers"])
        if is_local(headers.get(b"host", b"").decode("latin-1")):
            await self._app(scope, receive, with_headers)
        else:
            refusal = JSONResponse({"what": "this page is for this machine alone"}, status_code=403)
            await refusal(scope, receive, with_headers)


def is_local(host: str) -> bool:
    """Whether a Host header names this machine: a loopback name, with whatever port."""
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    return name.lower() in LOCAL_HOSTS and (not port or port.isdigit())
