"""The demo's site, running: a shop, a stand-in for REVE, and the middleware between them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware
from reve_middleware.sandbox import Sandbox
from reve_middleware.sandbox.serving import serve_asgi, serve_wsgi
from reve_middleware.sandbox.shop import Shop

from .basics import enter

NOTE = """<h2>Try this</h2>
<ol>
<li>Open the chat, at the bottom on the right. The bot greets a stranger.</li>
<li>Log in. The bot knows your name at once, in the same conversation.</li>
<li>Change the phone number in your account. The bot hears of it within five seconds.</li>
<li>Log out. The bot says goodbye and forgets you.</li>
<li>Log in as the other person: the old chat hears nothing. Press <em>New conversation</em>: the bot greets them.</li>
</ol>
<p>The other side: <a href="{operator}" target="_blank">every request the bot received</a>.</p>"""


@dataclass(frozen=True)
class DemoSite:
    """A running demo."""

    url: str
    """Where the shop is."""
    operator_url: str
    """Where the sandbox is; its page shows what the bot heard."""
    shop: Shop
    sandbox: Sandbox
    middleware: ReveMiddleware | ReveWSGIMiddleware


@contextmanager
def demo_site(
    *, wsgi: bool = False, host: str = "127.0.0.1", port: int = 0, sandbox_port: int = 0
) -> Iterator[DemoSite]:
    """Run the sandbox, and the shop behind the middleware, until the block ends. Port 0 picks a free one.

    `DemoError` if a port cannot be had or a server is not installed.
    """
    sandbox = Sandbox()
    with ExitStack() as stack:
        server = serve_asgi(sandbox.app, host=host, port=sandbox_port)
        operator_url = enter(stack, server, f"--sandbox-port {sandbox_port}")
        shop = Shop(head_html=sandbox.snippet(operator_url), note_html=NOTE.format(operator=operator_url))

        def profile(request: Request) -> dict[str, str] | None:
            person = shop.user(request.cookies.get(shop.cookie))
            return asdict(person) if person else None

        keywords: dict[str, Any] = {
            "webhook_url": operator_url + sandbox.webhook_path,
            "token": lambda: sandbox.token,
            "chatbot_id": sandbox.chatbot_id,
            "secret_key": secrets.token_urlsafe(32),
            "profile": profile,
            "logout_routes": ("/logout",),
            "endpoint": "login",
            "logout_endpoint": "logout",
            "dev": True,
        }
        middleware: ReveMiddleware | ReveWSGIMiddleware
        if wsgi:
            middleware = ReveWSGIMiddleware(shop.wsgi, **keywords)
            server = serve_wsgi(middleware, host=host, port=port)
        else:
            middleware = ReveMiddleware(shop.asgi, **keywords)
            server = serve_asgi(middleware, host=host, port=port)
        stack.callback(middleware.close)
        url = enter(stack, server, f"--port {port}")
        yield DemoSite(url, operator_url, shop, sandbox, middleware)
