"""`reve-middleware push`: one push by hand, through the middleware's own code."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from time import time
from typing import IO, Any
from urllib.parse import urlsplit

import click

from reve_middleware.bot import NEEDED, Bot
from reve_middleware.push import encode_body, encode_profile, printable
from reve_middleware.settings import SESSION_ID
from reve_middleware.worker import try_once

from .basics import CommandError
from .explain import explain
from .options import PAYLOADS, examples

UNUSED = "none"
"""Where nothing is sent."""
DEEPEST = 4
"""Levels of a profile that are shown."""


@click.command(
    short_help="One push by hand: what is sent, and what came of it.",
    epilog=examples(
        "reve-middleware push --session ID name=Ada email=ada@example.org",
        "reve-middleware push --session ID --endpoint login --json profile.json",
        "reve-middleware push --session ID --json - --dry-run < profile.json",
    ),
)
@click.argument("fields", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--session", metavar="ID", required=True, help="The session_id of a chat that is under way.")
@click.option("--json", "file", metavar="FILE", type=click.File("rb"), help="The profile, a JSON object; -: stdin.")
@click.option("--endpoint", metavar="NAME", help="The endpoint under the webhook link.")
@click.option("--payload", type=PAYLOADS, default="nested", help="How the body carries the profile.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--webhook-url", metavar="URL", envvar="REVE_WEBHOOK_URL", show_envvar=True, help="The link.")
@click.option("--chatbot-id", metavar="ID", envvar="REVE_CHATBOT_ID", show_envvar=True, help="The bot's id.")
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.File("rb"),
    help="A file with the webhook's token. Without it: REVE_TOKEN, or you are asked.",
)
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(0.1, 60), default=10.0, help="For all of it.")
@click.pass_context
def push(
    context: click.Context,
    fields: Sequence[str],
    session: str,
    file: IO[bytes] | None,
    endpoint: str | None,
    payload: str,
    dry_run: bool,
    webhook_url: str | None,
    chatbot_id: str | None,
    token_file: IO[bytes] | None,
    timeout: float,
) -> None:
    """Tell the bot one thing in one chat, once, and see what came of it.

    The bot runs its flow, in front of whoever sits there. What is shown has no value in it, so it can be pasted into a
    ticket. A field of the command line is text. All of that line stands in the machine's list of processes: give a real
    person's data as --json, and the link in the environment.

    Exit status: 0 delivered, 1 not delivered, 2 it could not be tried.
    """
    if not re.fullmatch(r"\S{1,128}", session) or not session.isprintable():
        raise click.BadParameter("it is no id: 1 to 128 visible characters", param_hint="--session")
    data = encode_profile(_profile(fields, file))
    token = _token(token_file, ask=not dry_run)
    bot = Bot(
        webhook_url=_needed("webhook_url", webhook_url),
        token=token or UNUSED,
        chatbot_id=_needed("chatbot_id", chatbot_id),
        endpoint=endpoint,
    )
    body = encode_body(payload, bot.chatbot_id, session, data)  # type: ignore[arg-type]
    click.echo("\n".join(_shown(bot, token, body)) + "\n")
    if not re.fullmatch(SESSION_ID, session):
        _warn("the middleware would not take this session id: see session_id_pattern=")
    if dry_run:
        if not token:
            _warn("there is no token yet: set REVE_TOKEN, or pass --token-file FILE")
        click.echo("Nothing was sent: this was a dry run.")
        return
    context.exit(_send(bot, session, body, payload, timeout))


def _send(bot: Bot, session: str, body: bytes, payload: str, seconds: float) -> int:
    task = {
        "chatbot_id": bot.chatbot_id,
        "session_id": session,
        "endpoint": bot.endpoint,
        "body": body.decode(),
        "offered": time(),
    }
    if sys.stderr.isatty():
        click.secho(f"Waiting for an answer, at most {seconds:g} s …", dim=True, err=True)
    try:
        outcome = try_once(task, bot, seconds=seconds)
    except KeyboardInterrupt:
        click.echo("Stopped. Whether the push arrived is not known: look into the chat.")
        return 1
    explained = explain(outcome, bot.endpoint, payload)
    delivered = outcome.kind == "delivered"
    click.secho(explained.happened, fg="green" if delivered else "red", bold=True)
    click.echo(click.wrap_text(explained.cure, 100))
    return 0 if delivered else 1


def _warn(text: str) -> None:
    click.secho(f"Warning: {text}", fg="yellow", err=True)


# What is given ---------------------------------------------------------------------------------


def _profile(fields: Sequence[str], file: IO[bytes] | None) -> Any:
    if file is not None:
        if fields:
            raise CommandError("the profile comes from --json, or as NAME=VALUE: not both")
        return _read_json(file)
    if not fields:
        raise CommandError("what is the bot to know? pass NAME=VALUE, such as name=Ada, or --json FILE")
    profile: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise CommandError("a field is written NAME=VALUE, such as name=Ada, in quotes where it has blanks")
        if name in profile:
            raise CommandError(f"field {printable(name)} comes twice")
        profile[name] = value
    return profile


def _read_json(file: IO[bytes]) -> Any:
    try:
        return json.loads(file.read().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except UnicodeDecodeError:
        where = "it is not UTF-8"
    except RecursionError:
        where = "it is nested too deeply"
    except ValueError:
        where = "a number in it is too long"
    raise CommandError(f"{_name(file)} is no JSON: {where}")


def _name(file: IO[bytes]) -> str:
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and name != "<stdin>" else "standard input"


def _token(file: IO[bytes] | None, *, ask: bool) -> str | None:
    """The token: never from the command line, which every user of the machine can read."""
    if file is not None:
        token = file.read(4096).decode("utf-8", "replace").strip()
        if not token:
            raise CommandError(f"{_name(file)} is empty: put the webhook's token into it")
        return token
    if (found := os.environ.get("REVE_TOKEN")) or not ask:
        return found
    if not sys.stdin.isatty():
        raise CommandError("there is no token: set REVE_TOKEN in the environment, or pass --token-file FILE")
    answer: str = click.prompt("The webhook's token (it is not shown)", hide_input=True, err=True)
    return answer.strip()


def _needed(name: str, value: str | None) -> str:
    if not value:
        option, variable = f"--{name.replace('_', '-')}", f"REVE_{name.upper()}"
        raise CommandError(f"{option} is missing: it must be {NEEDED[name]} (or set {variable} in the environment)")
    return value


# What is shown ---------------------------------------------------------------------------------


def _shown(bot: Bot, token: str | None, body: bytes) -> Iterator[str]:
    """Where to, and what is in it; neither the link's path, which is as good as a secret, nor a value."""
    parts = urlsplit(bot.url(None))
    at = f", endpoint {bot.endpoint!r}" if bot.endpoint else ""
    yield f"POST {parts.scheme}://{parts.netloc}/…{at}"
    yield f"  Authorization: Bearer, {'a token of ' + _counted(len(token), 'character') if token else 'no token'}"
    yield f"  Body: {len(body)} bytes of JSON"
    yield from _fields(json.loads(body), 1)


def _fields(fields: dict[str, Any], depth: int) -> Iterator[str]:
    width = max((len(printable(name)) for name in fields), default=0)
    for name, value in fields.items():
        yield f"{'    ' * depth}{printable(name):<{width}}  {_kind(value)}"
        if isinstance(value, dict) and depth < DEEPEST:
            yield from _fields(value, depth + 1)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return f"text, {_counted(len(value), 'character')}"
        case list():
            return f"list, {_counted(len(value), 'item')}"
        case dict():
            return f"object, {_counted(len(value), 'field')}"
        case _:
            return "number"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
