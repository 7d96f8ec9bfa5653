"""Everything the stand-in answers over HTTP: the webhook, the widget's own API, and (in its own file) the
operator's page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from . import views
from .answers import NOT_KEPT, read, refused, text
from .operator_routes import Operator
from .serving import STOPPING
from .webhook import MAX_BODY

if TYPE_CHECKING:
    from .standin import Sandbox

MAX_TEXT = 2000
"""Characters of one message that a visitor may type."""

ANY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
NO_BODY = {204, 205, 304}
"""Answers that have none (RFC 9110, sections 15.3.5, 15.3.6, 15.4.5)."""


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
            Operator(sandbox).mounted(),
        ],
    )


class _Webhook:
    """What a website's server calls."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def take(self, request: Request) -> Response:
        body = await read(request, MAX_BODY)
        record = self.sandbox.receive(request.method, request.scope["path"], request.headers, body)
        headers = {"Allow": "POST"} if record.status == 405 else {}
        if record.misbehaviour:
            if record.misbehaviour.seconds:
                await self.sandbox.held.hold(record.number, record.misbehaviour.seconds, lambda: _gone(request))
            if record.misbehaviour.retry_after:
                headers["Retry-After"] = record.misbehaviour.retry_after
        if record.status in NO_BODY:
            return Response(status_code=record.status, headers=headers)
        return JSONResponse({"error": record.why} if record.why else {"status": "success"}, record.status, headers)


class _Widget:
    """The script on the site's pages, and what it asks; any site may ask."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        style = json.dumps(text("widget.css"))
        self.source = text("widget.js").replace('"the style sheet"', style)

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
            return refused(404, str(error))
        return self.state(request)

    async def say(self, request: Request) -> Response:
        try:
            said = json.loads(await read(request, 4 * MAX_TEXT))["text"].strip()
        except (ValueError, LookupError, TypeError, AttributeError):
            return refused(400, 'the body is not {"text": "…"}')
        if not 0 < len(said) <= MAX_TEXT:
            return refused(400, f"a message has 1 to {MAX_TEXT} characters")
        try:
            self.sandbox.hear(request.path_params["id"], said)
        except LookupError as error:
            return refused(404, str(error))
        return self.state(request)

    def state(self, request: Request) -> Response:
        after = request.query_params.get("after", "")
        try:
            view = self.sandbox.view(request.path_params["id"], int(after) if after.isdecimal() else 0)
        except LookupError as error:
            return refused(404, str(error))
        return JSONResponse(views.conversation(view), headers=NOT_KEPT)


async def _gone(request: Request) -> None:
    """Return when the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        """The rest of a body that was too long to be read."""
