"""`reve-middleware sandbox`: the stand-in alone, and its switches. Each docstring is a promise."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Callable
from time import monotonic

import httpx
import pytest
from click.testing import CliRunner

from reve_middleware import ReveMiddleware
from reve_middleware.cli import main
from reve_middleware.cli.group import commands

Look = Callable[[str], None]
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the sandbox on a free port, calls each look with what it has printed so far, where it would sleep; stops
    it, and returns all it printed."""

    def run(*arguments: str, looks: list[Look]) -> str:
        told = []
        waits: list[float] = []
        waiting = iter(looks)

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            told.append(capsys.readouterr().out)
            look = next(waiting, None)
            if look is None:
                signal.raise_signal(signal.SIGTERM)
            else:
                look("".join(told))

        monkeypatch.setattr("reve_middleware.cli.sandbox.sleep", sleep)
        assert main(["sandbox", "--port", "0", *arguments]) == 0
        last = capsys.readouterr()
        assert last.out.endswith("Stopped.\n")
        assert last.err == ""
        assert len(waits) == len(looks) + 1
        run.waits = waits  # type: ignore[attr-defined]
        return "".join(told) + last.out

    return run


def settings(told: str) -> dict[str, str]:
    """What a shell makes of the lines to export; of two the later one counts."""
    return dict(shlex.split(line)[-1].split("=", 1) for line in told.splitlines() if " REVE_" in line)


def push(told: str, token: str | None = None) -> httpx.Response:
    found = settings(told)
    return httpx.post(
        f"{found['REVE_WEBHOOK_URL']}/login",
        json={"botId": found["REVE_CHATBOT_ID"], "sessionId": "s", "data": {"name": "Ada"}},
        headers={"Authorization": f"Bearer {token or found['REVE_TOKEN']}"},
    )


def test_it_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The four settings are those of a middleware, the webhook takes a push, the head snippet is the widget's, and the
    page of what the bot hears is there; nothing else is printed."""

    def look(told: str) -> None:
        found = settings(told)
        assert list(found) == ["REVE_WEBHOOK_URL", "REVE_TOKEN", "REVE_CHATBOT_ID", "REVE_SECRET_KEY"]
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        assert isinstance(ReveMiddleware(lambda *_: None, dev=True), ReveMiddleware)  # type: ignore[arg-type, return-value]
        assert push(told).status_code == 200
        url = told.splitlines()[0].removeprefix("The sandbox is running. What the bot hears: ")
        assert httpx.get(url).text.startswith("<!doctype html>")
        (source,) = re.findall(r'widget\.src = "([^"]+)"', told)
        assert httpx.get(source).headers["Content-Type"].startswith("text/javascript")

    told = run(looks=[look])
    assert "\x1b" not in told
    assert told.endswith("</script>\n\nCtrl-C stops it.\nStopped.\n")
    assert run.waits == [3600, 3600]  # type: ignore[attr-defined]


def test_its_settings_can_be_chosen(run: Run) -> None:
    """Token, bot, function and account are those that were asked for, quoted for a shell."""

    def look(told: str) -> None:
        found = settings(told)
        assert (found["REVE_TOKEN"], found["REVE_CHATBOT_ID"]) == ("a'$b", "bot&1")
        assert push(told).status_code == 200
        origin = httpx.URL(found["REVE_WEBHOOK_URL"]).join("/")
        assert (origin.host, str(origin).startswith("http://[::1]:")) == ("::1", True)
        assert httpx.post(f"{origin}widget/session").json()["function"] == "hello"
        assert '__revechat_account = "77"' in told

    chosen = {"token": "a'$b", "chatbot-id": "bot&1", "function": "hello", "account-id": "77", "host": "::1"}
    run(*(f"--{name}={value}" for name, value in chosen.items()), looks=[look])


def test_it_misbehaves(run: Run) -> None:
    """A status with a header, so often; then it behaves."""

    def look(told: str) -> None:
        answers = [push(told) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [429, 429, 200]
        assert [answer.headers.get("Retry-After") for answer in answers] == ["soon, maybe", "soon, maybe", None]

    told = run("--status", "429", "--retry-after", "soon, maybe", "--times", "2", looks=[look])
    assert "The first 2 pushes: answered with status 429, Retry-After: soon, maybe.\nCtrl-C stops it.\n" in told


def test_it_stalls(run: Run) -> None:
    """The right answer, too late."""

    def look(told: str) -> None:
        before = monotonic()
        assert push(told).status_code == 200
        assert monotonic() - before >= 0.2

    assert "The first push: answered rightly, 0.2 s late.\n" in run("--stall", "0.2", "--times", "1", looks=[look])


def test_for_good(run: Run) -> None:
    """Without a number it goes wrong until it ends."""

    def look(told: str) -> None:
        assert [push(told).status_code for _ in range(3)] == [503] * 3

    assert "Every push: answered with status 503.\n" in run("--status", "503", looks=[look])


def test_the_token_changes(run: Run) -> None:
    """Every so many seconds there is a new token, printed as a line to export; the old one is refused."""
    tokens = ["first"]

    def look(told: str) -> None:
        found = settings(told)
        assert push(told).status_code == 200
        if found["REVE_TOKEN"] != "first":
            assert push(told, tokens[-1]).status_code == 401
        tokens.append(found["REVE_TOKEN"])

    told = run("--token", "first", "--rotate-every", "0.5", looks=[look, look, look])
    assert run.waits == [0.5] * 4  # type: ignore[attr-defined]
    assert "A new token every 0.5 s; the old one is refused.\n" in told
    assert len(set(tokens)) == 3
    assert len(re.findall(r"^\d\d:\d\d:\d\d  export REVE_TOKEN=\S+$", told, re.M)) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--retry-after", "3"], "--retry-after belongs to an answer that goes wrong: give --status 429 or 503 too"),
        (["--times", "3"], "--times says how often to go wrong: give --status or --stall too"),
        (["--status", "429", "--retry-after", "ä"], "use seconds, such as 30, or text, such as an HTTP date"),
        (["--status", "100"], "Invalid value for '--status': 100 is not in the range 200<=x<=599."),
        (["--stall", "61"], "Invalid value for '--stall'"),
        (["--times", "0", "--status", "500"], "Invalid value for '--times'"),
        (["--rotate-every", "0"], "Invalid value for '--rotate-every'"),
        (["--host", "0.0.0.0"], "'0.0.0.0' is not this machine: use 127.0.0.1, ::1 or localhost"),
        (["--port", "-1"], "'-1' is not a port: use 0 to 65535"),
        (["--function", "a b"], "function='a b' is wrong: it must be the name the bot calls"),
        (["--chatbot-id", "a b"], "reve-middleware: chatbot_id='a b' is wrong: it must be the bot's id"),
        (["--token", "a b"], "reve-middleware: token has blanks, line ends or characters that no header can carry"),
    ],
)
def test_mistakes(arguments: list[str], told: str) -> None:
    """Nothing is started; the last line says what would be right."""
    done = CliRunner().invoke(commands, ["sandbox", "--port", "0", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr.splitlines()[-1]


def test_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is in the extra `demo`."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = CliRunner().invoke(commands, ["sandbox", "--port", "0"])
    assert (done.exit_code, done.stderr) == (
        2,
        "reve-middleware: uvicorn is not installed: pip install 'reve-middleware[demo]'\n",
    )
