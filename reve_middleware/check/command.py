"""The words of `reve-middleware check` on the command line."""

from __future__ import annotations

import asyncio
import os
import re
from typing import IO, Literal

import click

from reve_middleware.bot import Bot
from reve_middleware.errors import SettingsError

from . import report
from .look import Wish, look
from .response import origin_of

COOKIE_VARIABLE = "REVE_CHECK_COOKIE"
VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
LONGEST_COOKIE = 16 * 1024
"""Characters."""

HELP = """Look at a live page of your site as a browser would: is the tag there, does the script load, does the capture
path refuse what it must, what may caches keep?

Only refusals are tried, and only on the page's own origin. Exit status: 0 no error; 1 errors; 2 the page could not be
looked at.

Secrets come from the environment: REVE_CHECK_COOKIE (or --cookie-file) holds the Cookie header of somebody who is
logged in, such as session=...; --webhook takes REVE_WEBHOOK_URL, REVE_TOKEN and REVE_CHATBOT_ID.
"""


EXAMPLES = """\b
Examples:
  reve-middleware check https://www.example.com/
  reve-middleware check https://www.example.com/account --cookie-file -
  reve-middleware check https://www.example.com/ --webhook --json
"""


def _url(_: click.Context, __: click.Parameter, value: str) -> str:
    if origin_of(value) is None or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise click.BadParameter("give the page's whole address, such as https://www.example.com/")
    if "@" in value.split("/")[2]:
        raise click.BadParameter("an address with a user name is not taken: give a cookie instead")
    return value.partition("#")[0]


def _path(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise click.BadParameter("as in path=: begins with a slash, ends without, such as /_reve")
    return value


def _id(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not VISIBLE.fullmatch(value):
        raise click.BadParameter("1 to 128 visible characters, without blanks")
    return value


def _endpoint(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Za-z0-9._~-]+", value):
        raise click.BadParameter("the endpoint's name alone, such as login")
    return value


@click.command("check", help=HELP, short_help="Look at a live page: is everything right?", epilog=EXAMPLES)
@click.argument("url", callback=_url)
@click.option("--path", callback=_path, help="Where the site serves the script, as in path= (default: the tag tells).")
@click.option(
    "--cookie-file", type=click.File("r"), help=f"A file with a Cookie header (- reads it; or {COOKIE_VARIABLE})."
)
@click.option("--session", callback=_id, envvar="REVE_SESSION_ID", help="Capture this chat, really, and undo it.")
@click.option("--chatbot-id", callback=_id, envvar="REVE_CHATBOT_ID", help="The bot's id (or REVE_CHATBOT_ID).")
@click.option("--webhook", is_flag=True, help="Look at the bot's webhook too.")
@click.option("--endpoint", callback=_endpoint, help="The endpoint under the webhook's link.")
@click.option("--push", is_flag=True, help="With --webhook: try the token, by a push to a chat that cannot exist.")
@click.option("--payload", type=click.Choice(["nested", "flat"]), default="nested", help="With --push: as in payload=.")
@click.option(
    "--ca-file", type=click.Path(exists=True, dir_okay=False), help="Trust these certificates for the site instead."
)
@click.option(
    "--timeout", type=click.FloatRange(0.1, 60), default=10.0, show_default=True, help="Seconds for one request."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.pass_context
def check(
    context: click.Context,
    *,
    url: str,
    path: str | None,
    cookie_file: IO[str] | None,
    session: str | None,
    chatbot_id: str | None,
    webhook: bool,
    endpoint: str | None,
    push: bool,
    payload: Literal["nested", "flat"],
    ca_file: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    if session is not None and chatbot_id is None:
        raise click.UsageError("--session needs the bot's id as well: --chatbot-id, or REVE_CHATBOT_ID.")
    if not webhook and (push or endpoint is not None):
        raise click.UsageError("--push and --endpoint are for --webhook: say that too.")
    wish = Wish(
        url=url,
        path=path,
        cookie=_cookie(cookie_file),
        session_id=session,
        chatbot_id=chatbot_id,
        bot=_bot(chatbot_id, endpoint) if webhook else None,
        endpoint=endpoint,
        pushes=push,
        payload=payload,
        ca_file=ca_file,
        seconds=timeout,
    )
    try:
        found = asyncio.run(look(wish))
    except OSError:
        raise click.UsageError("--ca-file holds no certificates: it must be a PEM file.") from None
    if as_json:
        click.echo(report.as_json(found))
    else:
        click.echo(report.text(found), color=False if os.environ.get("NO_COLOR") else None)
    context.exit(found.exit_status)


def _cookie(file: IO[str] | None) -> str:
    """The value of a `Cookie` header; a name before it, and line ends around it, are left out."""
    try:
        said = os.environ.get(COOKIE_VARIABLE, "") if file is None else file.read(LONGEST_COOKIE + 1)
    except ValueError:  # not text
        said = "\0"
    said = re.sub(r"^cookie:", "", said.strip(), flags=re.IGNORECASE).strip()
    if said and (not re.fullmatch(r"[\x20-\x7e]+", said) or "=" not in said or len(said) > LONGEST_COOKIE):
        where = COOKIE_VARIABLE if file is None else "--cookie-file"
        raise click.UsageError(f"{where} holds no cookie: it must be one line such as session=...")
    return said


def _bot(chatbot_id: str | None, endpoint: str | None) -> Bot:
    values = {name: os.environ.get(f"REVE_{name.upper()}") for name in ("webhook_url", "token")}
    missing = [f"REVE_{name.upper()}" for name, value in values.items() if not value]
    missing += [] if chatbot_id else ["REVE_CHATBOT_ID (or --chatbot-id)"]
    if missing:
        raise click.UsageError(f"--webhook needs {', '.join(missing)} in the environment.")
    try:
        return Bot(chatbot_id=chatbot_id or "", endpoint=endpoint, **values)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
