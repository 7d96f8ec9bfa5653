"""The command `reve-middleware`: the demo, and a look into an outbox."""

import argparse
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from time import monotonic, sleep, time
from typing import Any

from starlette.requests import Request

from . import ReveMiddleware, ReveWSGIMiddleware, SettingsError, __version__
from .database import CANNOT, Database, plainly
from .ledger import Entries, Row
from .sandbox import Sandbox
from .sandbox.serving import serve_asgi, serve_wsgi
from .sandbox.shop import Shop
from .sender import Sender
from .settings import Settings

NAME = "reve-middleware"

NOTE = """<h2>Try this</h2>
<ol>
<li>Open the chat, at the bottom on the right. The bot greets a stranger.</li>
<li>Log in. The bot knows your name at once, in the same conversation.</li>
<li>Change the phone number in your account. The bot hears of it within five seconds.</li>
<li>Log out. The bot says goodbye and forgets you.</li>
<li>Log in as the other person: the old chat hears nothing. Press <em>New conversation</em>: the bot greets them.</li>
</ol>
<p>The other side: <a href="{operator}" target="_blank">every request the bot received</a>.</p>"""

WELCOME = """The demo is running.

  The shop             {shop}
  What the bot hears   {operator}

  1. Open the chat on the shop's page: the bot greets a stranger.
  2. Log in: the bot knows your name at once.
  3. Change the phone number in your account: the bot hears of it within five seconds.
  4. Log out: the bot says goodbye and forgets you.
  5. Log in as the other person: the old chat hears nothing. Press New conversation: the bot greets them.

Ctrl-C stops it."""


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


class CommandError(Exception):
    """It cannot be done; the message is one line with the cure."""


class DemoError(CommandError):
    """The demo cannot start."""


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
        operator_url = _enter(stack, server, f"--sandbox-port {sandbox_port}")
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
        url = _enter(stack, server, f"--port {port}")
        yield DemoSite(url, operator_url, shop, sandbox, middleware)


def _enter(stack: ExitStack, server: AbstractContextManager[str], option: str) -> str:
    try:
        return stack.enter_context(server)
    except ModuleNotFoundError as missing:
        raise DemoError(f"{missing.name} is not installed: pip install '{NAME}[demo]'") from None
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (")[0].lower()
        name = option.split()[0]
        raise DemoError(f"{option}: {why}; choose another with {name} (0 picks one)") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0; 1 where not everything was delivered; 2 when it could not be
    done."""
    options = _parser().parse_args(argv)
    with _stopped_by(signal.SIGINT, signal.SIGTERM):
        try:
            return int(options.run(options))
        except KeyboardInterrupt:
            print("Stopped.")
            return 0
        except CommandError as error:
            print(f"{NAME}: {error}", file=sys.stderr)
            return 2


def _demo(options: argparse.Namespace) -> int:
    with demo_site(wsgi=options.wsgi, host=options.host, port=options.port, sandbox_port=options.sandbox_port) as site:
        print(WELCOME.format(shop=site.url, operator=site.operator_url), flush=True)
        while True:
            sleep(3600)


def _outbox(options: argparse.Namespace) -> int:
    """Look into an outbox, send what is due, or delete everything."""
    with _told_plainly(options.path):
        if options.action == "drain":
            return _drain(options.path, options.seconds)
        with _opened(options.path) as entries:
            rows = entries.rows(monotonic(), time())
            if options.action == "list":
                print("\n".join(_listed(rows)))
                return 0
            if not options.yes:
                raise CommandError(f"purge deletes {_pushes(len(rows))}, undelivered: say so with --yes")
            entries.purge()
    print(f"{_pushes(len(rows))} deleted")
    return 0


def _drain(path: str, seconds: float) -> int:
    with _opened(path):
        """It is there, and an outbox."""
    outcomes: Counter[str] = Counter()
    sender = Sender(
        Settings(
            {
                "outbox": path,
                "secret_key": secrets.token_urlsafe(32),
                "on_result": lambda result: outcomes.update([result.outcome]),
            }
        )
    )
    sender.begin()
    sender.close(seconds)
    with _opened(path) as entries:
        left = len(entries.rows(monotonic(), time()))
    failed = outcomes["again"] + outcomes["held"]
    print(f"{outcomes['delivered']} delivered, {failed} failed, {outcomes['dropped']} dropped; {left} left")
    return 1 if failed or outcomes["dropped"] else 0


@contextmanager
def _opened(path: str) -> Iterator[Entries]:
    database = Database(os.path.abspath(path), create=False)
    try:
        with database.entries() as entries:
            yield entries
    finally:
        database.close()


@contextmanager
def _told_plainly(path: str) -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise CommandError(str(error)) from None
    except CANNOT as error:
        raise CommandError(f"{path}: {plainly(error)}") from None


def _listed(rows: Sequence[Row]) -> Iterator[str]:
    """Whose, how old, how large, how often tried; never what, nor in which chat."""
    width = max([3, *(len(row.bot) for row in rows)])
    line = f"{{:<{width}}}  {{:>9}}  {{:>9}}  {{:>8}}  {{}}"
    if rows:
        yield line.format("bot", "age", "bytes", "attempts", "state")
    for row in rows:
        state = "in flight" if row.in_flight else f"due in {row.due_in:.0f} s" if row.due_in >= 0.5 else "due"
        yield line.format(row.bot, f"{row.age:.0f} s", row.size, row.attempts, state)
    yield f"{_pushes(len(rows))}, {sum(row.size for row in rows)} bytes"


def _pushes(number: int) -> str:
    return f"{number} push" if number == 1 else f"{number} pushes"


@contextmanager
def _stopped_by(*signals: signal.Signals) -> Iterator[None]:
    """While it lasts, these signals raise `KeyboardInterrupt`, whatever the shell that started us set."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=NAME, description="Tells a REVE Chat bot who is logged in to your website.")
    parser.add_argument("--version", action="version", version=f"{NAME} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        help="a shop, a stand-in for REVE, and this middleware between them",
        description="Run a small shop with a login, a stand-in for REVE (widget, bot and webhook) and this "
        "middleware between them, in one process, on this machine only. No account is needed.",
    )
    demo.add_argument("--wsgi", action="store_true", help="the shop as a WSGI application (default: ASGI)")
    demo.add_argument("--port", type=_port, default=8000, help="of the shop (%(default)s; 0 picks one)")
    demo.add_argument(
        "--sandbox-port",
        type=_port,
        default=8001,
        metavar="PORT",
        help="of the stand-in for REVE (%(default)s; 0 picks one)",
    )
    demo.add_argument("--host", type=_loopback, default="127.0.0.1", help="a loopback address (%(default)s)")
    demo.set_defaults(run=_demo)
    outbox = commands.add_parser(
        "outbox",
        help="what waits in an outbox: list it, send what is due, or delete it",
        description="list: bot, age, size, attempts and state of each push, and nothing personal. drain: send what is "
        "due to the bot of REVE_WEBHOOK_URL, REVE_TOKEN and REVE_CHATBOT_ID; exit status 1 where something failed. "
        "purge: delete everything, delivered or not.",
    )
    outbox.add_argument("path", metavar="PATH", help="the file, as in outbox=")
    outbox.add_argument("action", choices=("list", "drain", "purge"), help="what to do")
    outbox.add_argument("--seconds", type=float, default=60.0, help="drain: for so long at most (%(default)s)")
    outbox.add_argument("--yes", action="store_true", help="purge: yes, delete them")
    outbox.set_defaults(run=_outbox)
    return parser


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: use 0 to 65535")


def _loopback(text: str) -> str:
    try:
        if text == "localhost" or ip_address(text).is_loopback:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not this machine: use 127.0.0.1, ::1 or localhost")
