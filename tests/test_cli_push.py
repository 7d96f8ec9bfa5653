"""`reve-middleware push`: one push by hand, shown without a value, its outcome in plain words."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from faults import Answer, FaultServer, refusing, reply, reset, silence
from terminals import a_terminal

from reve_middleware.cli import main
from reve_middleware.cli.explain import REASONS, explain
from reve_middleware.cli.group import commands
from reve_middleware.outcome import Outcome

NAMES = ("REVE_WEBHOOK_URL", "REVE_TOKEN", "REVE_CHATBOT_ID")
SESSION = "session-canary"
TOKEN = "token-canary"


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer(path="/canary-hook") as server:
        yield server


@pytest.fixture
def webhook(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> FaultServer:
    """Settings in the environment; the server answers 204."""
    for name, value in zip(NAMES, (server.url, TOKEN, "bot"), strict=True):
        monkeypatch.setenv(name, value)
    server.answers.clear()
    server.received.clear()
    return server


def push(*arguments: str, stdin: str | bytes = "", env: dict[str, str | None] | None = None) -> Result:
    done = CliRunner().invoke(commands, ["push", "--session", SESSION, *arguments], input=stdin, env=env)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "canary" not in done.output.lower()
    return done


# What is sent, and what is shown ---------------------------------------------------------------


def test_a_push(webhook: FaultServer) -> None:
    """The body is the middleware's own; what is shown of it is names, kinds and lengths; the exit status is 0."""
    done = push("name=Ada Canary", "mail=a=b", "--endpoint", "login")
    (received,) = webhook.received
    assert received.line == "POST /canary-hook/login HTTP/1.1"
    assert received.header("Authorization") == f"Bearer {TOKEN}"
    assert received.header("User-Agent") == "reve-middleware"
    assert json.loads(received.body) == {
        "botId": "bot",
        "sessionId": SESSION,
        "data": {"name": "Ada Canary", "mail": "a=b"},
    }
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout == (
        f"POST http://127.0.0.1:{webhook.port}/…, endpoint 'login'\n"
        "  Authorization: Bearer, a token of 12 characters\n"
        f"  Body: {len(received.body)} bytes of JSON\n"
        "    'botId'      text, 3 characters\n"
        "    'sessionId'  text, 14 characters\n"
        "    'data'       object, 2 fields\n"
        "        'mail'  text, 3 characters\n"
        "        'name'  text, 10 characters\n"
        "\n"
        "Delivered: the webhook answered 204.\n"
        "The bot now runs the flow that its endpoint 'login' names, in that chat. If nothing is seen there,\n"
        "the session may be over: what REVE answers then is not documented.\n"
    )


PROFILE: dict[str, Any] = {
    "a": "canary",
    "b": 40_404,
    "c": True,
    "d": None,
    "e": ["canary"],
    "f": {"g": 1.5, "h": {"i": {"j": {"too deep": "canary"}}}},
    "naïve": "",
}
SHOWN = """\
    'a'          text, 6 characters
    'b'          number
    'botId'      text, 3 characters
    'c'          true or false
    'd'          null
    'e'          list, 1 item
    'f'          object, 2 fields
        'g'  number
        'h'  object, 1 field
            'i'  object, 1 field
                'j'  object, 1 field
    'na\\xefve'   text, 0 characters
    'sessionId'  text, 14 characters
"""


@pytest.mark.parametrize("source", ["stdin", "file"])
def test_json(source: str, webhook: FaultServer, tmp_path: Path) -> None:
    """A profile comes from a file or from standard input, of whatever kinds, and goes out flat where that is asked."""
    text = json.dumps(PROFILE).encode()
    (tmp_path / "profile.json").write_bytes(b"\xef\xbb\xbf" + text)
    path = "-" if source == "stdin" else str(tmp_path / "profile.json")
    done = push("--json", path, "--payload", "flat", stdin=text)
    assert done.exit_code == 0
    assert SHOWN in done.stdout
    assert "404" not in done.stdout.replace(str(webhook.port), "")
    assert json.loads(webhook.received[0].body) == {**PROFILE, "botId": "bot", "sessionId": SESSION}


def test_a_dry_run_sends_nothing(webhook: FaultServer) -> None:
    """A dry run shows the same and sends nothing; it needs no token, and says that there is none."""
    connections = webhook.connections
    done = push("name=Ada", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.endswith("\n\nNothing was sent: this was a dry run.\n")
    done = push("name=Ada", "--dry-run", env={"REVE_TOKEN": None})
    assert done.exit_code == 0
    assert "Authorization: Bearer, no token\n" in done.stdout
    assert done.stderr == "Warning: there is no token yet: set REVE_TOKEN, or pass --token-file FILE\n"
    assert webhook.connections == connections


def test_options_before_the_environment(webhook: FaultServer, tmp_path: Path) -> None:
    """An option beats the environment; a token comes from a file, never from an option."""
    (tmp_path / "token").write_text(" another-canary \n")
    given = ["--webhook-url", webhook.url + "/other", "--chatbot-id", "bot-2", "--token-file", str(tmp_path / "token")]
    assert push("a=b", *given).exit_code == 0
    (received,) = webhook.received
    assert received.line == "POST /canary-hook/other HTTP/1.1"
    assert received.header("Authorization") == "Bearer another-canary"
    assert json.loads(received.body)["botId"] == "bot-2"
    assert push("a=b", "--token", "x").exit_code == 2


def test_a_session_id_that_the_middleware_would_not_take(webhook: FaultServer) -> None:
    """It is sent all the same, with a word on the keyword that would let it in."""
    done = CliRunner().invoke(commands, ["push", "--session", "s/1+é", "a=b"])
    assert (done.exit_code, json.loads(webhook.received[0].body)["sessionId"]) == (0, "s/1+é")
    assert done.stderr == "Warning: the middleware would not take this session id: see session_id_pattern=\n"


# What came of it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "more", "happened", "cure"),
    [
        (reply(200), [], "Delivered: the webhook answered 200.", "that its webhook names"),
        (reply(302), [], "Not delivered: the webhook sends elsewhere (302).", "Redirects are not followed"),
        (reply(400), [], "Not delivered: the webhook refuses it (400).", "try --payload flat"),
        (reply(422), ["--payload", "flat"], "the webhook refuses it (422).", "try --payload nested"),
        (reply(401), [], "the token is not valid, or not any more (401).", "invalidates the old one at once"),
        (reply(403), [], "the token may not do this, or is not valid any more (403).", "at once"),
        (reply(404), [], "there is nothing at this address (404).", "name it: --endpoint NAME"),
        (reply(404), ["--endpoint", "login"], "(404).", "an endpoint of the name 'login'?"),
        (reply(408), [], "the webhook did not get the whole request in time (408).", "Try again"),
        (reply(410), [], "this webhook does not exist any more (410).", "Copy the webhook link anew"),
        (reply(413), [], "the profile is too large for the webhook (413).", "fewer or shorter"),
        (reply(429, {"Retry-After": "30"}), [], "too many requests (429).", "asks to wait for 30 s. Wait"),
        (reply(503), [], "the webhook's server failed (503).", "Try again in a while"),
        (reset, [], "Not delivered: no connection, or it broke off.", "spelt right"),
        (silence, ["--timeout", "0.2"], "Not delivered: no answer in time.", "It may have arrived"),
    ],
)
def test_outcomes(webhook: FaultServer, answer: Answer, more: list[str], happened: str, cure: str) -> None:
    """Each outcome has a line that says what happened and a paragraph that says what to do; the exit status is 1
    unless it was delivered. One attempt is made, whatever comes of it."""
    connections = webhook.connections
    webhook.answers.append(answer)
    done = push("name=Ada", *more)
    outcome, *paragraph = done.stdout.partition("\n\n")[2].splitlines()
    assert happened in outcome
    assert cure in " ".join(paragraph)
    assert done.exit_code == (0 if outcome.startswith("Delivered") else 1)
    assert webhook.connections == connections + 1


@pytest.mark.usefixtures("webhook")
def test_nobody_there() -> None:
    """A port where nobody listens is no connection."""
    with refusing() as url:
        done = push("name=Ada", "--webhook-url", url.replace("hook", "canary"))
    assert "Not delivered: no connection, or it broke off.\n" in done.stdout
    assert done.exit_code == 1


def test_a_host_without_tls(webhook: FaultServer) -> None:
    """A host that does not speak TLS is not trusted."""
    webhook.answers.append(lambda line: line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    done = push("name=Ada", "--webhook-url", webhook.url.replace("http:", "https:"))
    assert "Not delivered: no TLS connection that can be trusted.\n" in done.stdout
    assert (done.exit_code, webhook.received) == (1, [])


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_without_a_status_has_its_words(reason: str) -> None:
    """What ends before a status line is explained as well."""
    happened, cure = explain(Outcome("again", reason), None, "nested")
    assert happened.startswith("Not delivered: ")
    assert cure.endswith(".")


@pytest.mark.usefixtures("webhook")
def test_stopped_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no success: whether the push arrived is not known, and the exit status is 1."""
    monkeypatch.setattr(
        "reve_middleware.cli.push.try_once", lambda *_, **__: signal.raise_signal(signal.SIGINT) or Outcome("again", "")
    )
    done = push("name=Ada")
    assert done.stdout.endswith("Stopped. Whether the push arrived is not known: look into the chat.\n")
    assert done.exit_code == 1


def test_a_terminal_is_told_to_wait(webhook: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal it says how long it may take."""
    with a_terminal(monkeypatch) as ended:
        assert main(["push", "--session", SESSION, "--timeout", "7.5", "a=b"]) == 0
        seen = ended()
    assert "Waiting for an answer, at most 7.5 s …" in seen
    assert "canary" not in seen


# Mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        ([], "", "what is the bot to know? pass NAME=VALUE, such as name=Ada, or --json FILE"),
        (["canary"], "", "a field is written NAME=VALUE, such as name=Ada, in quotes where it has blanks"),
        (["=canary"], "", "a field is written NAME=VALUE, such as name=Ada, in quotes where it has blanks"),
        (["a=canary", "a=b"], "", "field 'a' comes twice"),
        (["a=b", "--json", "-"], "{}", "the profile comes from --json, or as NAME=VALUE: not both"),
        (["--json", "-"], '{"a":\n canary}', "standard input is no JSON: line 2, column 2: Expecting value"),
        (["--json", "-"], "", "standard input is no JSON: line 1, column 1: Expecting value"),
        (["--json", "-"], b"\xff", "standard input is no JSON: it is not UTF-8"),
        (["--json", "-"], "[" * 200_000, "standard input is no JSON: it is nested too deeply"),
        (["--json", "-"], "9" * 5000, "standard input is no JSON: a number in it is too long"),
        (
            ["--json", "-"],
            "[]",
            "the profile is a list: it must be a dict of what the bot may know, such as "
            '{"id": user.id, "name": user.name}',
        ),
        (["--json", "-"], '{"a": NaN}', "field 'a' (float) is not JSON (NaN, infinity, or it contains itself)"),
        (["a=\udcff"], "", "field 'a' (str) has text that is not valid Unicode"),
        (
            ["a=" + "c" * 17_000],
            "",
            "the profile has 17008 bytes of JSON, more than 16384; the largest field is 'a'",
        ),
        (["a=b", "--token-file", "-"], " \n", "standard input is empty: put the webhook's token into it"),
        (
            ["a=b", "--token-file", "-"],
            "canary canary",
            "token has blanks, line ends or characters that no header can carry: paste it anew",
        ),
        (
            ["a=b", "--endpoint", "a/b"],
            "",
            "endpoint='a/b' is wrong: it must be the endpoint's name alone, such as 'login'",
        ),
        (
            ["a=b", "--webhook-url", "ftp://canary"],
            "",
            "webhook_url begins with 'ftp': it must be the bot's webhook link, https://… (http is for loopback "
            "addresses alone)",
        ),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, list) else "",
)
def test_mistakes(webhook: FaultServer, arguments: list[str], stdin: str | bytes, told: str) -> None:
    """Each is one line that says what would be right, and no value; nothing is sent, and the exit status is 2."""
    done = push(*arguments, stdin=stdin)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"reve-middleware: {told}\n")
    assert webhook.received == []


@pytest.mark.usefixtures("webhook")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "REVE_WEBHOOK_URL",
            "--webhook-url is missing: it must be the bot's webhook link, https://… (or set REVE_WEBHOOK_URL in the "
            "environment)",
        ),
        (
            "REVE_CHATBOT_ID",
            "--chatbot-id is missing: it must be the bot's id, 1 to 128 visible characters (or set REVE_CHATBOT_ID in "
            "the environment)",
        ),
        ("REVE_TOKEN", "there is no token: set REVE_TOKEN in the environment, or pass --token-file FILE"),
    ],
)
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_setting(name: str, told: str, value: str | None) -> None:
    """What is missing or empty is named, with both places where it may stand."""
    done = push("a=b", env={name: value})
    assert (done.exit_code, done.stderr) == (2, f"reve-middleware: {told}\n")


@pytest.mark.usefixtures("webhook")
@pytest.mark.parametrize("session", ["", "a b", "a\x1b", "x" * 129, "\udcff"])
def test_what_is_no_session_id(session: str) -> None:
    """An id that nobody can see, or that is none, is refused, and not repeated."""
    done = CliRunner().invoke(commands, ["push", "--session", session, "a=b"])
    assert done.exit_code == 2
    assert done.stderr.endswith("Invalid value for --session: it is no id: 1 to 128 visible characters\n")


@pytest.mark.usefixtures("webhook")
def test_what_click_says_of_files() -> None:
    """A file that is not there, and a session that is not given, are told in a line."""
    done = push("--json", "nowhere.json")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        2,
        "Error: Invalid value for '--json': 'nowhere.json': No such file or directory",
    )
    done = CliRunner().invoke(commands, ["push", "a=b"])
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, "Error: Missing option '--session'.")
