"""The stand-in as a test sees it: what to tell the site, what the bot has heard, and how it is to go wrong."""

from __future__ import annotations

import logging
import secrets
import socket
from contextlib import ExitStack
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from .sandbox import Pushed, Received, Sandbox
from .sandbox.serving import serve_asgi
from .sender import Sender, senders
from .settling import failures, settle
from .testing_clients import client_of
from .testing_visitor import AsyncVisitor, Offers, Visitor

SETTLE_SECONDS = 15.0
"""How long the site's sender is waited for; by default an attempt takes 10 s at most."""
LAST_SECONDS = 1.0
"""How long it is waited for when the test is over."""


class Address:
    """What is the same for all tests of a run: where the bot is, and its token. Behind it each has its own stand-in."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._listener = self._stack.enter_context(socket.socket())
        self._listener.bind(("127.0.0.1", 0))  # but nobody listens there until a test wants it
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._webhook_id = str(uuid4())
        self._token = secrets.token_urlsafe(24)
        self.secret_key = secrets.token_urlsafe(32)
        self.sandbox = self.new_sandbox()
        self._serves = False
        self.environment = {
            "REVE_WEBHOOK_URL": self.url + self.sandbox.webhook_path,
            "REVE_TOKEN": self._token,
            "REVE_CHATBOT_ID": self.sandbox.chatbot_id,
            "REVE_SECRET_KEY": self.secret_key,
        }

    def new_sandbox(self) -> Sandbox:
        """The same bot, that has heard nothing yet."""
        self.sandbox = Sandbox(token=self._token, webhook_id=self._webhook_id, patience=0.0)
        return self.sandbox

    def serve(self) -> None:
        if not self._serves:
            try:
                self._stack.enter_context(serve_asgi(self._answer, listener=self._listener))
            except ModuleNotFoundError as missing:
                raise ModuleNotFoundError(
                    f"the fixture reve needs {missing.name}: pip install 'reve-middleware[testing]'", name=missing.name
                ) from None
            self._serves = True

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self.sandbox.app(scope, receive, send)

    def close(self) -> None:
        self._stack.close()


class Reve:
    """The stand-in for REVE, as one test sees it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        address.serve()
        self.sandbox = address.new_sandbox()
        """The stand-in itself, for what is not here."""
        self._log = _Log()
        self._of_others = WeakKeyDictionary({sender: _offered(sender) for sender in senders()})
        self._failed: WeakKeyDictionary[Sender, int] = WeakKeyDictionary()
        self._changed(0)

    def __repr__(self) -> str:
        return "<Reve: a stand-in for tests>"

    # What the site is to be told ------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """Keywords for `ReveMiddleware` and `ReveWSGIMiddleware`: webhook_url, token (a callable, so that it follows
        `rotate_token`), chatbot_id, secret_key, and dev=True, since test clients speak plain http."""
        return {
            "webhook_url": self._address.environment["REVE_WEBHOOK_URL"],
            "token": self._current_token,
            "chatbot_id": self.sandbox.chatbot_id,
            "secret_key": self._address.secret_key,
            "dev": True,
        }

    @property
    def django_settings(self) -> dict[str, Any]:
        """The same for Django: `settings.REVE = {**settings.REVE, **reve.django_settings}`."""
        return {name.upper(): value for name, value in self.settings.items()}

    @property
    def environment(self) -> dict[str, str]:
        """The four variables, for a site that runs in a process of its own. Its token is text, and `rotate_token`
        leaves it behind."""
        return dict(self._address.environment)

    def _current_token(self) -> str:
        return self._address.sandbox.token

    # What the bot has heard -----------------------------------------------------------------------

    @property
    def pushes(self) -> list[Pushed]:
        """Every push the bot took in this test, oldest first, when the site in this process has sent what it had.

        While the stand-in refuses or fails, that is when each bot was tried once: what waits then is sent after
        `behave()`. A site in another process, and one with `handoff=`, is not waited for: see `wait_for`.
        """
        __tracebackhide__ = True
        self.settle()
        return self.sandbox.pushes

    @property
    def requests(self) -> list[Received]:
        """Every request that reached the webhook, refused ones too; settled like `pushes`."""
        __tracebackhide__ = True
        self.settle()
        return self.sandbox.requests

    def knows(self, session_id: str) -> dict[str, object] | None:
        """What the bot knows in this chat; None if it has heard of nobody. Settled like `pushes`."""
        __tracebackhide__ = True
        self.settle()
        return self.sandbox.knows(session_id) or None

    def wait_for(self, count: int, seconds: float = 5.0) -> list[Pushed]:
        """Wait until the bot took `count` pushes in this test, from whatever process; `AssertionError` after so many
        seconds."""
        __tracebackhide__ = True
        self.settle()
        try:
            return self.sandbox.wait_for_pushes(count, seconds)
        except TimeoutError as error:
            said = "".join(f"\nThe log of reve_middleware says: {line}" for line in self.said())
            text = f"{error}{said}"
        raise AssertionError(text)

    def settle(self) -> None:
        """Wait until the site has nothing more to send."""
        __tracebackhide__ = True
        mine = self._senders()
        if not settle(mine, SETTLE_SECONDS, self._goes_on):
            sizes = [sender.mailbox.sizes() for sender in mine]
            waiting, in_flight = (sum(each) for each in zip(*sizes, strict=True))
            raise AssertionError(
                f"The site is not done after {SETTLE_SECONDS:g} s: {in_flight} pushes under way, {waiting} wait. Where "
                "the stand-in holds its answers back (misbehave(seconds=…)), build the site with a shorter timeout="
            )

    # The other side -------------------------------------------------------------------------------

    def visitor(self, client: Any, *, page: str = "/", secure: bool | None = None) -> Any:
        """Somebody who looks at `page` with this client, which has their cookies, and chats with the bot.

        The client: a TestClient of Starlette, FastAPI or Litestar, httpx.Client (also with base_url= of a running
        server), a test client of Flask or Werkzeug, django.test.Client: a `Visitor`. With httpx.AsyncClient or
        django.test.AsyncClient an `AsyncVisitor`, whose methods are awaited. `secure`: visit by https (True) or http;
        left out, as the client does.
        """
        __tracebackhide__ = True
        if not page.startswith("/"):
            raise AssertionError(f"page={page!r} is no path of the site: it must begin with '/'")
        known, is_async = client_of(client, secure)
        return (AsyncVisitor if is_async else Visitor)(self, known, page)

    def misbehave(
        self,
        *,
        status: int | None = None,
        retry_after: str | int | None = None,
        seconds: float = 0.0,
        times: int | None = None,
    ) -> None:
        """Let the webhook go wrong: answer with a status, with `Retry-After`, hold its answer back for so many seconds,
        for the next `times` requests or until `behave()`."""
        self.sandbox.misbehave(status=status, retry_after=retry_after, seconds=seconds, times=times)
        self._changed(times or 0)

    def behave(self) -> None:
        """Let the webhook answer rightly again."""
        self.sandbox.behave()
        self._changed(0)

    def rotate_token(self) -> None:
        """Make the token invalid, as its renewal in REVE's dashboard does; `reve.settings["token"]` returns the new."""
        self.sandbox.rotate_token()
        self._changed(0)

    # For the visitor ------------------------------------------------------------------------------

    @property
    def chatbot_id(self) -> str:
        """The bot's id."""
        return self.sandbox.chatbot_id

    def open(self) -> str:
        """Begin a conversation, as the widget does; its session id."""
        return self.sandbox.open()

    def offers_elsewhere(self) -> Offers:
        """How many pushes each of the middlewares of this process has taken for other bots."""
        return WeakKeyDictionary(
            {sender: _offered(sender) for sender in senders() if not sender.sends_to(self._address.url)}
        )

    def listen(self) -> None:
        """Settle, unless answers are held back: who tests how a site bears that does not want to wait for them."""
        __tracebackhide__ = True
        misbehaviour = self.sandbox.misbehaviour
        if not (misbehaviour and misbehaviour.seconds) and not self.sandbox.held:
            self.settle()

    def said(self) -> list[str]:
        """What the middleware's log has said in this test: warnings and errors."""
        return list(self._log.texts)

    # Inside ---------------------------------------------------------------------------------------

    def _senders(self) -> list[Sender]:
        """Those that send to us, and were made or used in this test: an older one's outbox may be gone."""
        return [
            sender
            for sender in senders()
            if sender.sends_to(self._address.url) and self._of_others.get(sender) != _offered(sender)
        ]

    def _changed(self, to_fail: int) -> None:
        """The stand-in is another from now on; so many attempts are to fail before one can succeed."""
        self._to_fail = to_fail
        for sender in senders():
            self._failed[sender] = failures(sender)

    def _goes_on(self, sender: Sender) -> bool:
        """Is it of use to try again? Not where more has failed than was asked for."""
        return failures(sender) - self._failed.get(sender, 0) <= self._to_fail

    def close(self) -> None:
        """What is still to be sent goes to a stand-in that nobody looks at."""
        self._log.close()
        self._address.new_sandbox()
        self.behave()
        mine = self._senders()
        if not settle(mine, LAST_SECONDS, self._goes_on):
            for sender in mine:
                sender.close(0.0)
            settle(mine, LAST_SECONDS, self._goes_on)


def _offered(sender: Sender) -> int:
    return sender.mailbox.counts["offered"]


class _Log(logging.Handler):
    """What the middleware says."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        logging.getLogger("reve_middleware").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self.texts and getattr(record, "reve", "") != "dev":  # that it is a test is no news
            self.texts.append(text)

    def close(self) -> None:
        logging.getLogger("reve_middleware").removeHandler(self)
        super().close()
