"""The command as a whole: what every command has, with a terminal and without. Each docstring is a promise."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from faults import FaultServer
from terminals import COLOURS, a_terminal, installed, type_into

from reve_middleware import __version__
from reve_middleware.cli import DemoError, DemoSite, demo_site, main
from reve_middleware.cli.group import COMMANDS, commands

SENT_BY_HAND = ["push", "--session", "s-1", "name=Ada"]


@pytest.fixture
def bot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVE_WEBHOOK_URL", "https://bot.example/hook")
    monkeypatch.setenv("REVE_TOKEN", "t")
    monkeypatch.setenv("REVE_CHATBOT_ID", "b")
    monkeypatch.delenv("NO_COLOR", raising=False)


# Without Click ---------------------------------------------------------------------------------


@pytest.fixture
def without_click(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "click":
            monkeypatch.setitem(sys.modules, name, None)
        elif name.startswith("reve_middleware.cli."):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("without_click")
@pytest.mark.parametrize("line", ["--version", "demo", "outbox x list", ""])
def test_without_click_it_says_what_to_install(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the extra, whatever is asked for, one line says what to install; the exit status is 2."""
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        "reve-middleware: click is not installed: pip install 'reve-middleware[cli]'\n",
    )


def test_another_missing_module_is_no_missing_click(
    without_click: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault of another kind is not taken for it."""
    monkeypatch.setitem(sys.modules, "reve_middleware.cli.group", None)
    with pytest.raises(ModuleNotFoundError, match="group"):
        main(["--version"])


def test_what_tests_of_sites_import() -> None:
    """The demo's site can be imported from where it always was."""
    assert (DemoSite.__module__, demo_site.__module__) == ("reve_middleware.cli.site", "reve_middleware.cli.site")
    assert issubclass(DemoError, Exception)


# Help ------------------------------------------------------------------------------------------


def test_help_lists_every_command() -> None:
    """Each command has its line in the group's help, each line is whole."""
    told = CliRunner().invoke(commands, ["--help"])
    assert told.exit_code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command.name} +{re.escape(command.get_short_help_str(200))}$", told.stdout, re.M)


@pytest.mark.parametrize("command", [commands, *COMMANDS], ids=lambda command: command.name)
def test_every_example_is_understood(command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each help ends with examples, unbroken, and each of them is a command line that the command takes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profile.json").write_text("{}")
    arguments = [] if command is commands else [command.name or ""]
    told = CliRunner().invoke(commands, [*arguments, "--help"])
    assert told.exit_code == 0
    _, _, examples = told.stdout.partition("\n  Examples:\n")
    lines = [re.split(r"  +|<", line.strip())[0] for line in examples.splitlines()]
    assert lines
    for line in lines:
        program, name, *rest = shlex.split(line.replace("COMMAND", "push"))
        assert program == "reve-middleware"
        if rest != ["--help"]:
            with commands.commands[name].make_context(name, rest) as context:
                assert context.command.name == name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_is_explained(command: click.Command) -> None:
    """No option is without a word on what it does."""
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []


# Where a terminal is there, and where not --------------------------------------------------------


@pytest.mark.usefixtures("bot")
@pytest.mark.parametrize("line", [[*SENT_BY_HAND, "--dry-run"], ["snippet"], ["push", "--session", "/", "a=b"]])
def test_plain_text_where_no_terminal_is(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes into a file or a pipe has no colour in it."""
    monkeypatch.setattr("reve_middleware.cli.push.try_once", refuse)
    assert "\x1b" not in CliRunner().invoke(commands, line).output


def refuse(*_: object, **__: object) -> object:
    from reve_middleware.outcome import Outcome

    return Outcome("refused", "status_400", 400)


@pytest.mark.usefixtures("bot")
@pytest.mark.parametrize("no_color", [None, "", "1"])
@pytest.mark.parametrize("line", [["push", "--session", "/", "a=b"], ["snippet"]], ids=["push", "snippet"])
def test_colours_on_a_terminal(line: list[str], no_color: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours, unless NO_COLOR says no; the words are the same."""
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr("reve_middleware.cli.push.try_once", refuse)
    with a_terminal(monkeypatch) as ended:
        status = main(line)
        seen = ended()
    assert bool(COLOURS.search(seen)) is (no_color != "1")
    plain = CliRunner().invoke(commands, line)
    assert status == plain.exit_code
    assert COLOURS.sub("", seen).replace("Waiting for an answer, at most 10 s …\n", "") == plain.output


def test_the_installed_command(tmp_path: Path) -> None:
    """As a person runs it: it asks for the token without showing it, sends, and says in colour what came of it."""
    canary = "token-canary-" + "x" * 20
    with FaultServer() as server:
        known = {"REVE_WEBHOOK_URL": server.url, "REVE_CHATBOT_ID": "b", "REVE_TOKEN": "", "NO_COLOR": ""}
        status, seen = type_into([installed(), *SENT_BY_HAND], known, "(it is not shown): ", canary)
        assert server.received[0].header("Authorization") == f"Bearer {canary}"
    assert status == 0
    assert "\x1b[32m\x1b[1mDelivered: the webhook answered 204.\x1b[0m\n" in seen
    assert "canary" not in seen
    ran = subprocess.run([installed(), "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"reve-middleware {__version__}\n"
