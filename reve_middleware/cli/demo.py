"""`reve-middleware demo`: the whole story on one machine."""

from __future__ import annotations

from time import sleep

import click

from .options import examples, host, port
from .site import demo_site

WELCOME = """The demo is running.

  The shop             {shop}
  What the bot hears   {operator}

  1. Open the chat on the shop's page: the bot greets a stranger.
  2. Log in: the bot knows your name at once.
  3. Change the phone number in your account: the bot hears of it within five seconds.
  4. Log out: the bot says goodbye and forgets you.
  5. Log in as the other person: the old chat hears nothing. Press New conversation: the bot greets them.

Ctrl-C stops it."""


@click.command(
    short_help="A shop, a stand-in for REVE, and this middleware between them.",
    epilog=examples("reve-middleware demo", "reve-middleware demo --wsgi --port 0 --sandbox-port 0"),
)
@click.option("--wsgi", is_flag=True, help="The shop as a WSGI application.  [default: ASGI]")
@click.option("--port", type=port, default="8000", help="Of the shop; 0 picks one.")
@click.option("--sandbox-port", type=port, default="8001", help="Of the stand-in for REVE; 0 picks one.")
@click.option("--host", type=host, default="127.0.0.1", help="A loopback address.")
def demo(wsgi: bool, port: int, sandbox_port: int, host: str) -> None:
    """Run a small shop with a login, a stand-in for REVE (widget, bot and webhook) and this middleware between them,
    in one process, on this machine only. No account is needed."""
    with demo_site(wsgi=wsgi, host=host, port=port, sandbox_port=sandbox_port) as site:
        click.echo(WELCOME.format(shop=site.url, operator=site.operator_url))
        while True:
            sleep(3600)
