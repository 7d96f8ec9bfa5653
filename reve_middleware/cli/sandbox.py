"""`reve-middleware sandbox`: the stand-in for REVE alone, for one's own site; it goes wrong when told to."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from shlex import quote
from time import sleep, strftime

import click

from reve_middleware.bot import Bot
from reve_middleware.sandbox import Sandbox
from reve_middleware.sandbox.serving import serve_asgi

from .basics import enter
from .options import examples, function, host, port


@click.command(
    short_help="A stand-in for REVE, for your own site; it can misbehave.",
    epilog=examples(
        "reve-middleware sandbox",
        "reve-middleware sandbox --status 429 --retry-after 30 --times 3",
        "reve-middleware sandbox --stall 12        longer than the middleware waits",
        "reve-middleware sandbox --rotate-every 60",
    ),
)
@click.option("--port", type=port, default="8001", help="0 picks one.")
@click.option("--host", type=host, default="127.0.0.1", help="A loopback address.")
@click.option("--chatbot-id", metavar="ID", default="shop-bot", help="The bot's id.")
@click.option("--token", metavar="TEXT", help="The webhook's first token.  [default: a new one]")
@click.option("--function", type=function, metavar="NAME", default="identify", help="The function that the bot calls.")
@click.option("--account-id", metavar="ID", default="sandbox-account", help="The account's id in the head snippet.")
@click.option(
    "--status", type=click.IntRange(200, 599), metavar="N", help="Answer pushes so, and do not tell the bot of them."
)
@click.option("--retry-after", metavar="TEXT", help="With --status: that header; seconds, a date, or nonsense.")
@click.option(
    "--stall", "seconds", type=click.FloatRange(0, 60), metavar="SECONDS", default=0.0, help="Answer so much later."
)
@click.option("--times", type=click.IntRange(1), metavar="N", help="Misbehave so often.  [default: for good]")
@click.option(
    "--rotate-every",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="A new token so often; the old one is refused.",
)
def sandbox(
    port: int,
    host: str,
    chatbot_id: str,
    token: str | None,
    function: str,
    account_id: str,
    status: int | None,
    retry_after: str | None,
    seconds: float,
    times: int | None,
    rotate_every: float | None,
) -> None:
    """Run the stand-in for REVE (widget, bot and webhook) on this machine only, for a site of your own.

    It prints the settings to export and what goes into the head of the pages. Its own page shows every request that
    reaches the webhook. The switches let it go wrong, as REVE might.
    """
    standin = Sandbox(chatbot_id=chatbot_id, token=token, function=function, account_id=account_id)
    # It complains, as the site's own wrapper would, of a bot's id or a token that cannot be used.
    Bot(webhook_url="http://localhost", token=standin.token, chatbot_id=chatbot_id)
    wrong = list(_misbehave(standin, status, retry_after, seconds, times))
    with ExitStack() as stack:
        url = enter(stack, serve_asgi(standin.app, host=host, port=port), f"--port {port}")
        _print_settings(standin, url)
        if rotate_every:
            wrong.append(f"A new token every {rotate_every:g} s; the old one is refused.")
        for line in wrong:
            click.secho(line, fg="yellow")
        click.echo("Ctrl-C stops it.")
        while True:
            sleep(rotate_every or 3600)
            if rotate_every:
                click.echo(f"{strftime('%H:%M:%S')}  export REVE_TOKEN={quote(standin.rotate_token())}")


def _misbehave(
    standin: Sandbox, status: int | None, retry_after: str | None, seconds: float, times: int | None
) -> Iterator[str]:
    """Tell the stand-in how to go wrong; say how."""
    if retry_after is not None and status is None:
        raise click.UsageError("--retry-after belongs to an answer that goes wrong: give --status 429 or 503 too")
    if status is None and not seconds:
        if times is not None:
            raise click.UsageError("--times says how often to go wrong: give --status or --stall too")
        return
    try:
        standin.misbehave(status=status, retry_after=retry_after, seconds=seconds, times=times)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    said = [f"with status {status}" if status else "rightly"]
    said += [f"Retry-After: {retry_after}"] if retry_after else []
    said += [f"{seconds:g} s late"] if seconds else []
    which = "Every push" if times is None else "The first push" if times == 1 else f"The first {times} pushes"
    yield f"{which}: answered {', '.join(said)}."


def _print_settings(standin: Sandbox, url: str) -> None:
    settings = {
        "REVE_WEBHOOK_URL": url + standin.webhook_path,
        "REVE_TOKEN": standin.token,
        "REVE_CHATBOT_ID": standin.chatbot_id,
        "REVE_SECRET_KEY": secrets.token_urlsafe(32),
    }
    click.echo(f"The sandbox is running. What the bot hears: {click.style(url, bold=True)}\n")
    click.secho(
        "Your site's settings, for its terminal (and pass dev=True to the wrapper, for this is plain http):\n",
        bold=True,
    )
    for name, value in settings.items():
        click.echo(f"export {name}={quote(value)}")
    click.secho("\nIn the <head> of its pages, the widget:\n", bold=True)
    click.echo(f"{standin.snippet(url)}\n")
