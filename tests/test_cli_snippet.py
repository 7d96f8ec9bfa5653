"""`reve-middleware snippet`: what to put into the bot and into the site. Each docstring is a promise."""

from __future__ import annotations

import re
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from reve_middleware import ReveMiddleware, ReveWSGIMiddleware
from reve_middleware.cli.group import commands


def printed(*arguments: str) -> str:
    done = CliRunner().invoke(commands, ["snippet", *arguments])
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def code(text: str, title: str) -> str:
    """What a numbered part has to paste."""
    part = re.split(r"\n\d\. ", text.partition(title)[2])[0]
    lines = part.splitlines()[1:]
    return textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line))


def site(text: str) -> dict[str, Any]:
    """The site's half, run."""
    user = SimpleNamespace(id=7, name="Ada", email="ada@example.org", plan="gold")
    names: dict[str, Any] = {"app": lambda *_: None, "who_is_logged_in": lambda request: request and user}
    exec(code(text, "The wrapper, outermost but for compression"), names)
    return names


@pytest.fixture(autouse=True)
def bot(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in code(printed(), "The environment").strip().splitlines():
        ((name, value),) = re.findall(r"^export (\w+)='(.*?)'", line)
        assert value in ("…", "https://…")
        known = {"REVE_WEBHOOK_URL": "https://bot.example/hook", "REVE_SECRET_KEY": "k" * 32}
        monkeypatch.setenv(name, known.get(name, "x"))


def test_the_site_s_half_runs() -> None:
    """Pasted, with the settings it names in the environment, it makes the wrapper, and the profile has the fields."""
    names = site(printed())
    assert type(names["app"]) is ReveMiddleware
    assert names["profile"]("somebody") == {"name": "Ada", "email": "ada@example.org"}
    assert names["profile"](None) is None
    assert "identity" not in names


def test_the_site_s_half_with_everything() -> None:
    """Each option is a keyword of the wrapper; a profile that does not say who it is comes with identity=."""
    options = ["--wsgi", "--function", "whoIsThere", "--payload", "flat", "--endpoint", "login"]
    text = printed(*options, "--logout-endpoint", "logout", "name", "plan", "name")
    names = site(text)
    assert type(names["app"]) is ReveWSGIMiddleware
    assert names["profile"]("somebody") == {"name": "Ada", "plan": "gold"}
    assert (names["identity"]("somebody"), names["identity"](None)) == (7, None)
    for keyword in (
        "identity=identity,",
        'function="whoIsThere",',
        'payload="flat",',
        'endpoint="login",',
        'logout_endpoint="logout",',
        'logout_routes=["/logout"],',
    ):
        assert f"        {keyword}\n" in text


def test_the_bot_s_half() -> None:
    """The call with the function's name, what arrives in the shape that is asked for, what must be made in the bot."""
    text = printed()
    assert code(text, "The browser script").strip() == "chatbot.identify(param)"
    assert code(text, "The webhook").strip() == '{"botId": "…", "sessionId": "…", "data": {"email": "…", "name": "…"}}'
    assert "Make one for" not in text
    assert "endpoint" not in code(text, "The wrapper")
    assert "sign-out" not in text

    text = printed("--function", "hello", "--payload", "flat", "--endpoint", "in", "--logout-endpoint", "out", "plan")
    assert code(text, "The browser script").strip() == "chatbot.hello(param)"
    assert code(text, "The webhook").strip().splitlines() == [
        '{"botId": "…", "plan": "…", "sessionId": "…"}',
        '{"botId": "…", "sessionId": "…"}',
    ]
    assert "make the endpoint 'in' under the link" in text
    assert "at the endpoint 'out', says that the visitor has signed out" in text
    assert "Make one for: plan.\n" in text
    assert "plan is not empty  ->  somebody" in code(text, "The condition")


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    """Each part of the bot's half says what REVE's public pages leave open."""
    bot_half = printed().partition("In the site")[0]
    parts = re.split(r"\n\d\. ", bot_half)[1:]
    assert [part.splitlines()[0] for part in parts] == [
        "The browser script",
        "The webhook",
        "The script that reads what arrived",
        "The condition",
    ]
    assert [part.count("  Not known: ") for part in parts] == [1, 1, 2, 1]


def test_lines_fit_a_terminal() -> None:
    """No line is wider than 110 characters."""
    text = printed("--endpoint", "login", "--logout-endpoint", "logout", "plan")
    assert [line for line in text.splitlines() if len(line) > 110] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--function", "1st"],
            "function='1st' is wrong: it must be the name the bot calls",
        ),
        (["--function", "forget"], "function='forget' is wrong"),
        (["--endpoint", "a b"], "endpoint='a b' is wrong: it must be the endpoint's name alone, such as 'login'"),
        (["--logout-endpoint", "/"], "logout_endpoint='/' is wrong"),
        (["first-name"], "'first-name' is no field for a script: use letters, digits and _, such as plan"),
        (["class"], "'class' is no field for a script"),
        (["--payload", "round"], "'round' is not one of 'nested', 'flat'"),
    ],
)
def test_mistakes(arguments: list[str], told: str) -> None:
    """What could not be pasted is not printed: one line says what would be right."""
    done = CliRunner().invoke(commands, ["snippet", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr.splitlines()[-1]
