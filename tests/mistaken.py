"""Small real applications in which newcomers' mistakes are made, and the ear that hears what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from drive import KEYWORDS, Reply, ShellKind, Visitor, said
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

PAGE = f"<!doctype html><html><head><title>Shop</title></head><body>{'a shop ' * 100}</body></html>"


def ada(request: Any) -> dict[str, Any]:
    return {"id": 7, "name": "Ada"}


def starlette_app(*layers: Middleware, html: str = PAGE, view: Any = None, **headers: str) -> Starlette:
    """Every path is one page."""

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(html, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return Starlette(routes=[Route("/{path:path}", view or page)], middleware=list(layers))


def fastapi_app() -> FastAPI:
    app = FastAPI()

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        return PAGE

    return app


def flask_app(html: str = PAGE) -> Flask:
    app = Flask("shop")
    app.secret_key = "only for tests"
    app.add_url_rule("/", "page", lambda: html)
    return app


class Newcomer:
    """Wraps applications, plays their visitors, and reads the log."""

    def __init__(self, kind: ShellKind, caplog: pytest.LogCaptureFixture) -> None:
        self.kind = kind
        self._caplog = caplog

    def visitor(self, app: Any, *, over: dict[str, Any] | None = None, **keywords: Any) -> Visitor:
        """A visitor of the wrapped application; `over`: host, scheme and mount of their browser."""
        return Visitor(self.kind.wrap(app, **keywords), self.kind, **(over or {}))

    def visit(self, app: Any, times: int = 3, **keywords: Any) -> Visitor:
        """The widget reports a chat, and then the visitor looks at so many pages."""
        visitor = self.visitor(app, **keywords)
        visitor.capture()
        for _ in range(times):
            visitor.get("/")
        return visitor

    def look(self, app: Any, **keywords: Any) -> list[Reply]:
        """Somebody without a chat looks at three pages."""
        visitor = self.visitor(app, **keywords)
        return [visitor.get("/") for _ in range(3)]

    @property
    def heard(self) -> list[tuple[str, str]]:
        """Codes and texts, in order."""
        return said(self._caplog)

    def once(self) -> tuple[str, str]:
        """The one thing that was said, however many responses there were."""
        (only,) = self.heard
        return only


def message_of(error: type[Exception], make: Callable[[], Any]) -> str:
    with pytest.raises(error) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert KEYWORDS["token"] not in str(caught.value)
    return str(caught.value)
