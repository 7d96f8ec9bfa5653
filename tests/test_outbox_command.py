"""`reve-middleware outbox`: what waits in a file, without anything personal; send it; delete it."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

import pytest
from delivering import push
from faults import FaultServer, refusing, reply
from outboxes import always, bytes_on_disk, connection
from terminals import a_terminal

from reve_middleware import clock
from reve_middleware.cli import main
from reve_middleware.outbox import Outbox

PERSONAL = b'{"name":"Ada Canary","phone":"555-canary"}'
SESSION = "session-canary"


@pytest.fixture(autouse=True)
def _the_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is another process's, which goes by the machine's clock: not by what other tests here skipped of it."""
    monkeypatch.setattr(clock, "_skipped", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite3"


@pytest.fixture
def filled(path: Path) -> Path:
    """One that is due, one that failed three times, one in the hands of a worker that died, one of another bot."""
    now, wall = time.monotonic(), time.time()
    box = Outbox(str(path), ["b", "a-longer-name"], clock=lambda: now, wall=lambda: wall - 90.0)
    for number, body in enumerate((PERSONAL, b"{}")):
        box.offer(push(f"{SESSION}-{number}", body, visitor="visitor-canary", transition=f"canary-{number}"), now)
        letter = box.claim(now, always)
        assert letter is not None
        if number:
            letter.attempts = 3
            box.again(letter, now + 3600.0, now)
    box.offer(push(f"{SESSION}-2", b"{}"), now)
    box.offer(push(f"{SESSION}-3", b"{}", bot="a-longer-name"), now)
    box.hand_back()
    return path


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("REVE_TOKEN", "token-canary")
    monkeypatch.setenv("REVE_CHATBOT_ID", "b")
    return monkeypatch


def run(*arguments: object) -> int:
    return main(["outbox", *map(str, arguments)])


def one_push(path: Path) -> None:
    box = Outbox(str(path), ["b"])
    box.offer(push("s"), time.monotonic())
    box.hand_back()


def test_list_shows_nothing_personal(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`list` shows of each push its bot, age, size, attempts and state, and neither whose nor what it is."""
    assert run(filled, "list") == 0
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["bot", "age", "bytes", "attempts", "state"]
    assert lines[1] == ["b", "90", "s", str(len(PERSONAL)), "0", "in", "flight"]
    assert lines[2][:7] == ["b", "90", "s", "2", "3", "due", "in"]
    assert float(lines[2][7]) == pytest.approx(3600, abs=30)
    assert lines[3] == ["b", "90", "s", "2", "0", "due"]
    assert lines[4] == ["a-longer-name", "90", "s", "2", "0", "due"]
    assert said.out.splitlines()[5] == f"4 pushes, {len(PERSONAL) + 6} bytes"
    assert "canary" not in said.out.lower() + said.err.lower()


def test_an_empty_outbox(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty outbox is said to have no pushes."""
    box = Outbox(str(path), ["b"])
    connection(box)
    box.hand_back()
    assert run(path, "list") == 0
    assert capsys.readouterr().out == "0 pushes, 0 bytes\n"


@pytest.mark.usefixtures("environment")
def test_drain_sends_what_is_due(
    filled: Path, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`drain` sends what is due to the bot of the environment, and leaves what is another's or not due yet."""
    with FaultServer() as server:
        environment.setenv("REVE_WEBHOOK_URL", server.url)
        assert run(filled, "drain") == 0
        assert [received.body for received in server.received] == [b"{}"]
        assert server.received[0].header("Authorization") == "Bearer token-canary"
    assert capsys.readouterr().out == "1 delivered, 0 failed, 0 dropped; 3 left\n"


def test_drain_says_what_failed(
    filled: Path, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What fails is counted and kept; the exit status is 1."""
    with refusing() as url:
        environment.setenv("REVE_WEBHOOK_URL", url)
        assert run(filled, "drain", "--seconds", "20") == 1
    assert capsys.readouterr().out == "0 delivered, 1 failed, 0 dropped; 4 left\n"


def test_drain_drops_what_is_refused(
    path: Path, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the bot refuses is counted and dropped; the exit status is 1."""
    one_push(path)
    with FaultServer(default=reply(400)) as server:
        environment.setenv("REVE_WEBHOOK_URL", server.url)
        assert run(path, "drain") == 1
    said = capsys.readouterr()
    assert said.out == "0 delivered, 0 failed, 1 dropped; 0 left\n"
    assert "canary" not in said.out + said.err


@pytest.mark.parametrize("terminal", [True, False])
def test_drain_shows_how_far_it_is(
    terminal: bool, path: Path, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal `drain` has a bar; elsewhere nothing stands beside its one line."""
    one_push(path)
    with FaultServer() as server:
        environment.setenv("REVE_WEBHOOK_URL", server.url)
        if terminal:
            with a_terminal(environment) as ended:
                assert run(path, "drain") == 0
                seen = ended()
            assert re.search(r"Sending .*100%", seen)
            assert seen.endswith("1 delivered, 0 failed, 0 dropped; 0 left\n")
        else:
            assert run(path, "drain") == 0
            assert capsys.readouterr() == ("1 delivered, 0 failed, 0 dropped; 0 left\n", "")


def test_what_is_logged_stands_above_the_bar(path: Path, environment: pytest.MonkeyPatch) -> None:
    """On a terminal a warning has a line to itself, and the bar comes back below it."""
    one_push(path)
    before = list(logging.getLogger("reve_middleware").handlers)
    with FaultServer(default=reply(400)) as server, a_terminal(environment) as ended:
        environment.setenv("REVE_WEBHOOK_URL", server.url)
        assert run(path, "drain") == 1
        seen = ended()
    assert re.search(r"0%\r\x1b\[Kbot b refused a push \(status_400\); it is dropped: .*\n.*100%", seen)
    assert logging.getLogger("reve_middleware").handlers == before


def test_purge_deletes_everything(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`purge` deletes every push, after `--yes` alone, and nothing of them is left in the file."""
    assert run(filled, "purge") == 2
    assert capsys.readouterr().err == "reve-middleware: purge deletes 4 pushes, undelivered: say so with --yes\n"
    assert b"Ada Canary" in bytes_on_disk(filled)
    assert run(filled, "purge", "--yes") == 0
    assert capsys.readouterr().out == "4 pushes deleted\n"
    assert b"canary" not in bytes_on_disk(filled).lower()
    assert run(filled, "purge", "--yes") == 0
    assert capsys.readouterr().out == "0 pushes deleted\n"


def test_one_push_is_no_pushes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One push is called so."""
    one_push(path)
    assert run(path, "purge") == 2
    assert run(path, "list") == run(path, "purge", "--yes") == 0
    said = capsys.readouterr()
    assert "1 push, 2 bytes\n" in said.out
    assert said.out.endswith("1 push deleted\n")
    assert "purge deletes 1 push, undelivered" in said.err


@pytest.mark.parametrize("action", ["list", "drain", "purge"])
def test_a_file_that_is_not_there(
    path: Path, action: str, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is missing is not made, and one line says that it is missing."""
    environment.setenv("REVE_WEBHOOK_URL", "https://bot.example/hook")
    assert run(path, action) == 2
    assert capsys.readouterr().err == f"reve-middleware: {path}: No such file or directory\n"
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "why"), [(b"text " * 100, "file is not a database"), (b"", "it is no outbox")], ids=["text", "empty"]
)
def test_a_file_that_is_no_outbox(path: Path, content: bytes, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no outbox is left as it is, and one line says so."""
    path.write_bytes(content)
    assert run(path, "purge", "--yes") == 2
    assert capsys.readouterr().err == f"reve-middleware: {path}: {why}\n"
    assert path.read_bytes() == content


def test_a_folder_is_no_outbox(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder is no outbox, and one line says so."""
    assert run(tmp_path, "list") == 2
    assert capsys.readouterr().err == f"reve-middleware: {tmp_path}: it is no file\n"


def test_drain_needs_a_bot(filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a bot in the environment, one line says which variables are missing."""
    for name in ("REVE_WEBHOOK_URL", "REVE_TOKEN", "REVE_CHATBOT_ID"):
        monkeypatch.delenv(name, raising=False)
    assert run(filled, "drain") == 2
    said = capsys.readouterr().err
    assert said.startswith("reve-middleware: settings are missing: webhook_url, token, chatbot_id; ")
    assert "REVE_WEBHOOK_URL, REVE_TOKEN, REVE_CHATBOT_ID in the environment" in said
    assert said.count("\n") == 1
