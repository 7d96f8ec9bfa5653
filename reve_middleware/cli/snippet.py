"""`reve-middleware snippet`: what to put into the bot, and into the site. What REVE's public pages leave open is said
to be open."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from keyword import iskeyword

import click

from reve_middleware.bot import Bot
from reve_middleware.push import encode_body, encode_profile

from .basics import CommandError
from .options import PAYLOADS, examples, function

OWN_ATTRIBUTES = ("name", "email", "phone")
"""A bot has these; for anything else an attribute must be made."""
WHO = ("id", "email", "phone")
"""The fields that tell the middleware who somebody is."""
SOME_BOT = {"webhook_url": "https://bot.example", "token": "-", "chatbot_id": "-"}


@click.command(
    short_help="What to paste into REVE, and the site's half.",
    epilog=examples(
        "reve-middleware snippet",
        "reve-middleware snippet --endpoint login --logout-endpoint logout name email plan",
        "reve-middleware snippet --wsgi --function whoIsThere",
    ),
)
@click.argument("fields", metavar="[FIELD]...", nargs=-1)
@click.option("--function", type=function, metavar="NAME", default="identify", help="The function that the bot calls.")
@click.option("--endpoint", metavar="NAME", help="The endpoint that gets profiles.")
@click.option("--logout-endpoint", metavar="NAME", help="The endpoint that hears of sign-outs.")
@click.option("--payload", type=PAYLOADS, default="nested", help="How the body carries the profile.")
@click.option("--wsgi", is_flag=True, help="The site is a WSGI application.  [default: ASGI]")
def snippet(
    fields: Sequence[str], function: str, endpoint: str | None, logout_endpoint: str | None, payload: str, wsgi: bool
) -> None:
    """Print what to put into the bot, in REVE's dashboard, and into the site, for a profile of these FIELDs (name and
    email, if none is given).

    What REVE's public pages do not say is marked: "Not known".
    """
    fields = list(dict.fromkeys(fields or ("name", "email")))
    for field in fields:
        if not (field.isascii() and field.isidentifier()) or iskeyword(field):
            raise CommandError(f"{field!r} is no field for a script: use letters, digits and _, such as plan")
    Bot(**SOME_BOT, endpoint=endpoint, logout_endpoint=logout_endpoint)  # complains of what can be no endpoint
    keywords = {"function": function, "endpoint": endpoint, "logout_endpoint": logout_endpoint, "payload": payload}
    click.secho("In the bot (REVE's dashboard)", bold=True, underline=True)
    for number, (title, lines) in enumerate(
        (
            ("The browser script", _browser_script(function)),
            ("The webhook", _webhook(fields, endpoint, logout_endpoint, payload)),
            ("The script that reads what arrived", _reader(fields)),
            ("The condition", _condition(fields, logout_endpoint)),
        ),
        1,
    ):
        _print(f"{number}. {title}", lines)
    click.secho("\nIn the site", bold=True, underline=True)
    _print("5. The environment", ENVIRONMENT.splitlines())
    _print("6. The wrapper, outermost but for compression", _site(fields, keywords, wsgi))


def _print(title: str, lines: Iterator[str] | list[str]) -> None:
    click.secho(f"\n{title}\n", bold=True)
    for line in lines:
        if line.startswith("    "):
            click.secho(line, fg="cyan")
        else:
            click.secho(line, fg="yellow" if line.startswith("  Not known:") else None)


def _browser_script(function: str) -> Iterator[str]:
    yield "  At the point of the flow where the bot should know who it talks to, its beginning or later:"
    yield ""
    yield f"    chatbot.{function}(param)"
    yield ""
    yield "  REVE calls it with param.session_id and param.chatbot_id; the middleware's script in the page defines it."
    yield "  Not known: whether the dashboard wants the call or its name alone; whether the flow waits for the promise."


def _webhook(fields: Sequence[str], endpoint: str | None, logout_endpoint: str | None, payload: str) -> Iterator[str]:
    if endpoint:
        yield f"  In the bot's webhook settings, make the endpoint {endpoint!r} under the link."
    yield "  Set which attribute saves what arrives, and which node of the flow runs then; it runs again whenever the"
    yield "  profile changes. What arrives:"
    yield ""
    for who in (fields, []) if logout_endpoint else (fields,):
        data = encode_profile(dict.fromkeys(who, "…"))
        body = encode_body(payload, "…", "…", data)  # type: ignore[arg-type]
        yield f"    {json.dumps(json.loads(body), ensure_ascii=False)}"
    yield ""
    if logout_endpoint:
        yield f"  The second, at the endpoint {logout_endpoint!r}, says that the visitor has signed out."
    yield f"  Not known: whether REVE wants the data nested or flat. This is {payload}; --payload shows the other."
    custom = [field for field in fields if field not in OWN_ATTRIBUTES]
    if custom:
        yield f"  A bot has the attributes name, email and phone. Make one for: {', '.join(custom)}."


def _reader(fields: Sequence[str]) -> Iterator[str]:
    yield "  In the node that the endpoint runs. `received` stands for the attribute that saves what arrives."
    yield ""
    yield '    var body = typeof received === "string" ? JSON.parse(received || "{}") : received || {};'
    yield "    var data = body.data || body;"
    for field in fields:
        yield f'    var {field}_ = data.{field} == null ? "" : data.{field};'
    yield ""
    yield f"  Then save {', '.join(f'{field}_ as {field}' for field in fields)}."
    yield "  Not known: the language of a bot's script. This is JavaScript, as browser scripts are."
    yield "  Not known: how it reads and saves an attribute; whether that holds the whole body, its data alone or text."


def _condition(fields: Sequence[str], logout_endpoint: str | None) -> Iterator[str]:
    known = f"{fields[0]} is not empty"
    yield "  Behind the script:"
    yield ""
    yield f"    {known}  ->  somebody is logged in: greet them, and do not ask for {', '.join(fields)}"
    yield f"    {'otherwise':<{len(known)}}  ->  a stranger: the flow as it was"
    yield ""
    if logout_endpoint:
        yield "  After a sign-out all of them are empty."
    yield "  Not known: the words that the dashboard has for this."


ENVIRONMENT = """\
    export REVE_WEBHOOK_URL='https://…'   # the bot's webhook link, without an endpoint
    export REVE_TOKEN='…'                 # its token; refreshing it invalidates the old one at once
    export REVE_CHATBOT_ID='…'
    export REVE_SECRET_KEY='…'            # python -c 'import secrets; print(secrets.token_urlsafe(32))'"""
DEFAULTS = {"function": "identify", "endpoint": None, "logout_endpoint": None, "payload": "nested"}


def _site(fields: Sequence[str], keywords: dict[str, str | None], wsgi: bool) -> Iterator[str]:
    wrapper = "ReveWSGIMiddleware" if wsgi else "ReveMiddleware"
    given = [f"{name}={json.dumps(value)}" for name, value in keywords.items() if value != DEFAULTS[name]]
    if keywords["logout_endpoint"]:
        given.append('logout_routes=["/logout"]')
    values = ", ".join(f'"{field}": user.{field}' for field in fields)
    functions = [("profile", "what the bot may know", f"{{{values}}}")]
    if not set(fields) & set(WHO):
        functions.append(("identity", "who it is, since the profile has neither id, email nor phone", "user.id"))
    yield f"    from reve_middleware import {wrapper}"
    for name, meaning, result in functions:
        yield from ("", "")
        yield f"    def {name}(request):  # {meaning}"
        yield "        user = who_is_logged_in(request)  # yours"
        yield f"        return None if user is None else {result}"
    yield from ("", "")
    yield f"    app = {wrapper}("
    for argument in ("app", *(f"{name}={name}" for name, _, _ in functions), *given):
        yield f"        {argument},"
    yield "    )"
    yield ""
    yield "  Flask: app.wsgi_app = …(app.wsgi_app, …). Other frameworks: the README; every keyword: docs/."
