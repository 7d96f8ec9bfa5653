"""`reve-middleware check` on the command line: what it takes, what it refuses, how it looks."""

from pathlib import Path

import pytest
from checking import answering, wrapped
from click.testing import CliRunner

from reve_middleware.check.browser import Browser, Unreachable
from reve_middleware.check.command import check
from reve_middleware.sandbox.serving import serve_asgi

NOBODY = "http://127.0.0.1:1/"
KEYS = {"REVE_WEBHOOK_URL": "https://reve.invalid/link-canary", "REVE_TOKEN": "token-canary"}


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["shop.example"], {}, "give the page's whole address"),
        (["ftp://shop.example/"], {}, "give the page's whole address"),
        (["https://shop.example/\u00e4"], {}, "give the page's whole address"),
        (["https://ada:canary@shop.example/"], {}, "give a cookie instead"),
        ([NOBODY, "--path", "_reve"], {}, "begins with a slash"),
        ([NOBODY, "--path", "/_reve/"], {}, "begins with a slash"),
        ([NOBODY, "--session", "canary"], {}, "--session needs the bot's id"),
        ([NOBODY, "--session", "canary id", "--chatbot-id", "b"], {}, "1 to 128 visible characters"),
        ([NOBODY, "--chatbot-id", "canary id"], {}, "1 to 128 visible characters"),
        ([NOBODY, "--push"], {}, "say that too"),
        ([NOBODY, "--endpoint", "login"], {}, "say that too"),
        ([NOBODY, "--webhook", "--endpoint", "/canary"], KEYS, "the endpoint's name alone"),
        ([NOBODY, "--webhook"], {}, "REVE_WEBHOOK_URL, REVE_TOKEN, REVE_CHATBOT_ID"),
        ([NOBODY, "--webhook"], KEYS, "REVE_CHATBOT_ID"),
        ([NOBODY, "--webhook", "--chatbot-id", "b"], {**KEYS, "REVE_WEBHOOK_URL": "http://canary.x/y"}, "webhook_url"),
        ([NOBODY, "--webhook", "--chatbot-id", "b"], {**KEYS, "REVE_TOKEN": "canary two"}, "token has blanks"),
        ([NOBODY], {"REVE_CHECK_COOKIE": "canary"}, "REVE_CHECK_COOKIE holds no cookie"),
        ([NOBODY], {"REVE_CHECK_COOKIE": "a=canary\r\nb: c"}, "REVE_CHECK_COOKIE holds no cookie"),
        ([NOBODY, "--cookie-file", "-"], {}, "--cookie-file holds no cookie"),
        ([NOBODY, "--ca-file", __file__], {}, "--ca-file holds no certificates"),
        ([NOBODY, "--timeout", "0"], {}, "--timeout"),
    ],
)
def test_mistakes_are_told(arguments: list[str], env: dict[str, str], words: str) -> None:
    """A wrong argument ends with status 2 and one line with the cure; secrets are not repeated."""
    result = CliRunner().invoke(check, arguments, env={**dict.fromkeys(KEYS), **env}, input="canary")
    assert result.exit_code == 2
    assert words in result.output
    assert "canary" not in result.output


def test_a_cookie_file_that_is_not_text(tmp_path: Path) -> None:
    """A file that is not text holds no cookie."""
    (tmp_path / "cookie").write_bytes(b"a=\xff\xfe")
    result = CliRunner().invoke(check, [NOBODY, "--cookie-file", str(tmp_path / "cookie")])
    assert (result.exit_code, "holds no cookie" in result.output) == (2, True)


def test_how_it_looks() -> None:
    """For people: a line a finding, cures below, the count; in colour where a terminal is there, unless NO_COLOR says
    otherwise. It works with another path=, too."""
    with serve_asgi(wrapped(answering(headers={"x-frame-options": "DENY"}), path="/chat/who", dev=True)) as url:
        plain = CliRunner().invoke(check, [f"{url}/", "--path", "/chat/who"])
        coloured = CliRunner().invoke(check, [f"{url}/#top"], color=True)
        refused = CliRunner().invoke(check, [f"{url}/"], color=True, env={"NO_COLOR": "1"})
    assert plain.exit_code == coloured.exit_code == 0, plain.output
    assert plain.output.startswith(
        "ok       The page answers 200, text/html.\nok       The tag is there, first in the head;"
    )
    assert plain.output.endswith("\n\n9 ok, 0 warnings, 0 errors\n")
    assert "\x1b[32m" in coloured.output
    assert refused.output == plain.output


def test_help() -> None:
    """The help says what is sent, and what the exit status means."""
    result = CliRunner().invoke(check, ["--help"])
    assert "Exit status: 0" in result.output
    assert all(getattr(option, "help", "there") for option in check.params if option.name != "url")


async def _asked_elsewhere() -> list[str]:
    said = []
    async with Browser("http://127.0.0.1:1/", seconds=1.0) as browser:
        for url in ("http://127.0.0.1:2/", "https://127.0.0.1:1/", "javascript:1", "http://127.0.0.1:1/\x7f"):
            try:
                await browser.fetch(url, {})
            except Unreachable as error:
                said.append(str(error))
    return said


async def _asked_often() -> str:
    async with Browser("http://127.0.0.1:1/", seconds=1.0) as browser:
        while True:
            try:
                await browser.fetch("http://127.0.0.1:1/", {})
            except Unreachable as error:
                if "bounds" in str(error):
                    return str(error)


def test_the_bounds() -> None:
    """Nothing is sent to another origin, nor to what is no address; and after so many requests nothing at all."""
    import asyncio

    elsewhere = "it is on another origin, where nothing is sent"
    assert asyncio.run(_asked_elsewhere()) == [elsewhere, elsewhere, elsewhere, "it is no address that can be asked"]
    assert "60 requests" in asyncio.run(_asked_often())
