"""Everything the stand-in answers over HTTP: the webhook, the widget's own API, the operator's page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from .bot import show
from .serving import STOPPING
from .webhook import MAX_BODY

if TYPE_CHECKING:
    from .standin import Received, Sandbox, View

MAX_TEXT = 2000
"""Characters of one message that a visitor may type."""
SHOWN = 50
"""Requests and conversations on the operator's page."""
SHOWN_BODY = 8 * 1024
"""Characters of a request's body on the operator's page."""

HERE = Path(__file__).parent
ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
NO_BODY = {204, 205, 304}
"""Answers that have none (RFC 9110, sections 15.3.5, 15.3.6, 15.4.5)."""
NOT_KEPT = {"Cache-Control": "no-store"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def build(sandbox: Sandbox) -> Starlette:
    """The ASGI application of one sandbox."""
    any_site = Middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["GET", "POST"], allow_headers=["content-type"]
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, object]]:
        yield {STOPPING: sandbox.held.let_go}

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/api/webhook/{rest:path}", _Webhook(sandbox).take, methods=ANY_METHOD),
            Mount("/widget", routes=_Widget(sandbox).routes(), middleware=[any_site]),
            *_Operator(sandbox).routes(),
        ],
    )


class _Webhook:
    """What a website's server calls."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def take(self, request: Request) -> Response:
        body = await _read(request, MAX_BODY)
        record = self.sandbox.receive(request.method, request.scope["path"], request.headers, body)
        headers = {"Allow": "POST"} if record.status == 405 else {}
        if record.misbehaviour:
            if record.misbehaviour.seconds:
                await self.sandbox.held.hold(record.misbehaviour.seconds, lambda: _gone(request))
            if record.misbehaviour.retry_after:
                headers["Retry-After"] = record.misbehaviour.retry_after
        if record.status in NO_BODY:
            return Response(status_code=record.status, headers=headers)
        return JSONResponse({"error": record.why} if record.why else {"status": "success"}, record.status, headers)


class _Widget:
    """The script on the site's pages, and what it asks; any site may ask."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        style = json.dumps(_text("widget.css"))
        self.source = _text("widget.js").replace('"the style sheet"', style)

    def routes(self) -> list[Route]:
        return [
            Route("/scripts/new-livechat.js", self.script),
            Route("/session", self.open, methods=["POST"]),
            Route("/session/{id}", self.state),
            Route("/session/{id}/begin", self.begin, methods=["POST"]),
            Route("/session/{id}/say", self.say, methods=["POST"]),
        ]

    def script(self, request: Request) -> Response:
        return Response(self.source, media_type="text/javascript", headers=NOT_KEPT)

    def open(self, request: Request) -> Response:
        ids = {"session_id": self.sandbox.open(), "chatbot_id": self.sandbox.chatbot_id}
        return JSONResponse({**ids, "function": self.sandbox.function}, headers=NOT_KEPT)

    def begin(self, request: Request) -> Response:
        try:
            self.sandbox.begin(request.path_params["id"], request.query_params.get("outcome", "called"))
        except LookupError as error:
            return _refused(404, str(error))
        return self.state(request)

    async def say(self, request: Request) -> Response:
        try:
            text = json.loads(await _read(request, 4 * MAX_TEXT))["text"].strip()
        except (ValueError, LookupError, TypeError, AttributeError):
            return _refused(400, 'the body is not {"text": "…"}')
        if not 0 < len(text) <= MAX_TEXT:
            return _refused(400, f"a message has 1 to {MAX_TEXT} characters")
        try:
            self.sandbox.hear(request.path_params["id"], text)
        except LookupError as error:
            return _refused(404, str(error))
        return self.state(request)

    def state(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        try:
            view = self.sandbox.view(request.path_params["id"], int(after) if after.isdecimal() else 0)
        except LookupError as error:
            return _refused(404, str(error))
        return JSONResponse(_conversation(view), headers=NOT_KEPT)


class _Operator:
    """The page for the one who watches; for this origin only."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.files = {name: _text(name) for name in ("operator.html", "operator.js", "operator.css")}

    def routes(self) -> list[Route]:
        return [
            Route("/", self.page),
            Route("/operator.js", self.script),
            Route("/operator.css", self.style),
            Route("/operator/state", self.state),
            Route("/operator/rotate", self.rotate, methods=["POST"]),
        ]

    def page(self, request: Request) -> Response:
        headers = {**NOT_KEPT, "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(self.files["operator.html"], media_type="text/html", headers=headers)

    def script(self, request: Request) -> Response:
        return Response(self.files["operator.js"], media_type="text/javascript", headers=NOT_KEPT)

    def style(self, request: Request) -> Response:
        return Response(self.files["operator.css"], media_type="text/css", headers=NOT_KEPT)

    def state(self, request: Request) -> Response:
        version, requests, views = self.sandbox.newest(SHOWN)
        if request.query_params.get("version") == str(version):
            return Response(status_code=204, headers=NOT_KEPT)
        bot = {
            "chatbot_id": self.sandbox.chatbot_id,
            "webhook_path": self.sandbox.webhook_path,
            "token": _shortened(self.sandbox.token),
            "function": self.sandbox.function,
        }
        found = {
            "version": version,
            "bot": bot,
            "requests": [_request(record) for record in requests],
            "conversations": [_conversation(view) for view in views],
        }
        return JSONResponse(found, headers=NOT_KEPT)

    def rotate(self, request: Request) -> Response:
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return _refused(403, "only the operator's page may do this")
        return JSONResponse({"token": _shortened(self.sandbox.rotate_token())}, headers=NOT_KEPT)


async def _gone(request: Request) -> None:
    """Return when the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        """The rest of a body that was too long to be read."""


async def _read(request: Request, limit: int) -> bytes:
    """The body, or its beginning: a little more than `limit`, so that it is seen to be too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status, NOT_KEPT)


def _text(name: str) -> str:
    return (HERE / name).read_text("utf-8")


def _conversation(view: View) -> dict[str, object]:
    return {
        "version": view.version,
        "session_id": view.session_id,
        "from_widget": view.from_widget,
        "begun": view.begun,
        "knows": {key: show(value) for key, value in view.knows.items()},
        "messages": [
            {"number": message.number, "speaker": message.speaker, "text": message.text} for message in view.messages
        ],
    }


def _request(record: Received) -> dict[str, object]:
    body = record.body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        body = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    return {
        "number": record.number,
        "time": record.time,
        "method": record.method,
        "path": record.path,
        "endpoint": record.endpoint,
        "status": record.status,
        "why": record.why,
        "headers": [[name, _masked(name, value)] for name, value in record.headers.items()],
        "body": body[:SHOWN_BODY],
    }


def _masked(name: str, value: str) -> str:
    if name.lower() != "authorization":
        return value
    scheme, space, token = value.partition(" ")
    return f"{scheme} {_shortened(token)}" if space else _shortened(value)


def _shortened(secret: str) -> str:
    return f"{secret[:4]}…"
