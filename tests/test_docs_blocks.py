"""Every block on a page of the documentation is run: Python, commands of the shell, configuration.

What a block takes for granted (the site, the settings in the environment, a file) stands in the fixtures below; what
must come of it, in `RUN`. The tutorials' console is in test_docs_tutorials.py.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from caching import executable
from click.testing import CliRunner
from example_sites import SITES
from pages import ROOT, Block, block, blocks, commands
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from reve_middleware import ReveMiddleware, identify
from reve_middleware.cli.group import commands as group
from reve_middleware.csp import permission
from reve_middleware.testing import Reve, stand_in

ADA = {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}
PAGE = "<!doctype html><html><head><title>Shop</title></head><body></body></html>"
TAG = '<script src="/_reve/bridge.js'
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

NOT_RUN = {
    "{toctree}": "Sphinx builds it, in .ci/run",
    "{eval-rst}": "Sphinx builds it, in .ci/run",
    "{notes-table}": "Sphinx builds it, in .ci/run, from the code (docs/tables.py)",
    "README.md:text:0": "a drawing of the flow",
    "docs/explanation/flow.md:text:0": "a drawing of the flow",
}
"""Blocks, or kinds of them, that no test runs, and why."""
NO_COMMANDS_OF_OURS = {
    "mkdir": "makes the folder of a tutorial",
    "cd": "enters it",
    ".": "switches an environment on",
    "curl": "its answer is compared in test_docs_tutorials.py",
    "uvicorn": "the program is served by it, here or in test_docs_tutorials.py",
    "waitress-serve": "the program is served by it in test_docs_tutorials.py",
    ".venv/bin/pytest": "runs this",
}
"""Commands that are not run here, and why."""


# The site that a block takes for granted ---------------------------------------------------------


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


async def site(scope: Any, receive: Any, send: Any) -> None:
    """Ada is logged in, whatever is asked for."""
    if scope["type"] == "http":
        identify(ADA)
    await SHOP(scope, receive, send)


SHOP = Starlette(routes=[Route("/", page)])


@pytest.fixture
def reve() -> Iterator[Reve]:
    with stand_in() as reve:
        yield reve


class Run:
    """A block that was run as a module, and the bot of its site."""

    def __init__(self, code: str, name: str, given: dict[str, Any], reve: Reve, patch: pytest.MonkeyPatch) -> None:
        self.reve, self.patch = reve, patch
        self.module = ModuleType(name)
        vars(self.module).update(given)
        patch.setitem(sys.modules, name, self.module)  # where Flask and FastAPI look for it
        exec(compile(code, name, "exec"), vars(self.module))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def chat(self, app: Any = None, **cookies: str) -> str:
        """What the site answers when somebody begins a chat; by https."""
        with TestClient(app or self.app, cookies=cookies) as client:
            visitor = self.reve.visitor(client, secure=True)
            answer: str = visitor.chat()
            assert (visitor.knows == ADA) is (answer == "queued")
        return answer


def greets(run: Run) -> None:
    """A site that works: the bot knows who is there."""
    assert run.chat() == "queued"


# The README --------------------------------------------------------------------------------------


def readme(number: int, run: Run, name: str, **given: Any) -> Run:
    """Another block of the README."""
    return Run(block("README.md", "python", number).text, name, given, run.reve, run.patch)


def the_fastapi_site(run: Run) -> None:
    """With the README's own test."""
    run.patch.setitem(sys.modules, "shop", run.module)
    readme(2, run, "test_shop").test_the_bot_knows_who_is_logged_in(run.reve)
    with TestClient(run.app) as client:
        visitor = run.reve.visitor(client)
        client.post("/login")
        assert visitor.chat() == "queued"
        client.post("/logout")
        assert visitor.chat() == "anonymous"


def the_flask_site(run: Run) -> None:
    """With the README's own test, and the client its comment names."""
    run.patch.setitem(sys.modules, "shop", run.module)
    code = block("README.md", "python", 2).text
    assert "# Flask: client = app.test_client()" in code
    code = code.replace("client = TestClient(app)\n", "client = app.test_client()\n")
    Run(code, "test_shop", {}, run.reve, run.patch).test_the_bot_knows_who_is_logged_in(run.reve)


def the_test(run: Run) -> None:
    """Both sites have passed it, above; conftest.py has the line that the README says."""
    assert callable(run.test_the_bot_knows_who_is_logged_in)
    (line,) = re.findall(r"`(pytest_plugins = .*?)`", (ROOT / "README.md").read_text())
    assert line in (ROOT / "examples" / "conftest.py").read_text()


# The how-to guides -------------------------------------------------------------------------------


def consent(run: Run) -> None:
    """No cookie, no consent."""
    assert [run.chat(), run.chat(**{"cookie-choice": "all"})] == ["declined", "queued"]


def two_keys(run: Run) -> None:
    """Cookies of either key are taken: the chat goes on, and nothing is pushed again."""
    for number, key in enumerate((run.old, run.new), 1):
        with TestClient(ReveMiddleware(site, secret_key=key)) as before, TestClient(run.app) as after:
            visitor = run.reve.visitor(before, secure=True)
            assert visitor.chat() == "queued"
            after.cookies = before.cookies
            assert after.get("https://testserver/").status_code == 200
            assert len(run.reve.pushes) == number


def a_token_from_a_file(run: Run) -> None:
    """It is read, and read anew when it is refused."""
    greets(run)
    run.reve.rotate_token()
    Path("reve-token.txt").write_text(run.reve.sandbox.token)
    greets(run)


def compressed(run: Run) -> None:
    """The page has the tag, and is compressed after that."""
    greets(run)
    inside = run.module.app.app
    assert [type(one).__name__ for one in (run.app, inside)] == ["GZipMiddleware", "ReveMiddleware"]


def counts(run: Run) -> None:
    """Nothing yet, and it says so."""
    assert run.module.printed == "0\n"
    assert {"offered", "delivered"} <= {*run.middleware.stats()}


def prometheus(run: Run) -> None:
    """Each delivery is counted."""
    labels = {"bot": "shop-bot", "outcome": "delivered", "reason": "status_200"}
    before = REGISTRY.get_sample_value("reve_push_results_total", labels) or 0.0
    greets(run)
    assert REGISTRY.get_sample_value("reve_push_results_total", labels) == before + 1


def told(run: Run) -> None:
    """A push that is refused is printed."""
    lines: list[str] = []
    run.module.print = lambda *words: lines.append(" ".join(words))  # type: ignore[attr-defined]
    run.reve.misbehave(status=400)
    with TestClient(run.app) as client:
        run.reve.visitor(client, secure=True).chat()
        assert run.reve.pushes == []
    assert lines == ["shop-bot status_400"]


def bots(run: Run) -> None:
    """The tag names none of them; each is there. Their links lead nowhere, so nobody chats."""
    with TestClient(run.app) as client:
        text = client.get("https://testserver/").text
    assert (TAG in text, "data-bot" in text) == (True, False)
    assert [(bot.chatbot_id, bot.endpoint) for bot in run.bots] == [("sales", "login"), ("help", None)]
    assert {*run.app.stats()["bots"]} == {"sales", "help"}


def queue(run: Run) -> None:
    """The task delivers."""
    with TestClient(run.app) as client:
        assert run.reve.visitor(client, secure=True).chat() == "queued"
    assert [push.data for push in run.reve.wait_for(1)] == [ADA]


def views(run: Run) -> None:
    """Each function does what its comment says, with a layer outside and without."""

    def route(name: str) -> Route:
        view = getattr(run, name)

        async def answer(request: Request) -> HTMLResponse:
            await view(request)
            return HTMLResponse(PAGE)

        return Route(f"/{name}", answer)

    shop = Starlette(routes=[route(name) for name in ("account", "log_out", "contact", "press")])
    with TestClient(shop) as client:
        assert client.get("/account").text == PAGE
    with TestClient(ReveMiddleware(shop, exclude=("/contact",))) as client:
        has_tag = {
            name: TAG in client.get(f"https://testserver/{name}").text for name in ("account", "contact", "press")
        }
        assert has_tag == {"account": True, "contact": True, "press": False}
        visitor = run.reve.visitor(client, page="/account", secure=True)
        assert visitor.chat() == "anonymous"  # the capture path is no view
        client.get("https://testserver/account")
        assert visitor.knows == {"id": 7, "name": "Ada"}
        assert "__Host-reve" in client.cookies
        client.get("https://testserver/log_out")
        assert "__Host-reve" not in client.cookies


def tag(run: Run) -> None:
    """A template that has the tag by hand."""

    async def by_hand(request: Request) -> HTMLResponse:
        identify(ADA)
        return HTMLResponse(f"<!doctype html><html>{run.head(request)}<body></body></html>")

    app = ReveMiddleware(Starlette(routes=[Route("/", by_hand)]), inject=False, subrequest="/")
    assert run.chat(app) == "queued"


def outbox(run: Run) -> None:
    """The file is there; the commands below it find nothing that waits."""
    greets(run)
    assert Path("reve.sqlite3").stat().st_mode & 0o777 == 0o600
    said = {}
    for line in commands(block("docs/how-to/workers.md", "sh")):
        done = CliRunner().invoke(group, shlex.split(line)[1:], env=run.reve.environment)
        assert done.exit_code == 0, done.output
        said[line.split()[3]] = done.output
    assert said == {
        "list": "0 pushes, 0 bytes\n",
        "drain": "0 delivered, 0 failed, 0 dropped; 0 left\n",
        "purge": "0 pushes deleted\n",
    }


RUN: dict[str, Callable[[Run], None]] = {
    "README.md:python:0": the_fastapi_site,
    "README.md:python:1": the_flask_site,
    "README.md:python:2": the_test,
    "docs/how-to/consent.md:python:0": consent,
    "docs/how-to/key-rotation.md:python:0": two_keys,
    "docs/how-to/key-rotation.md:python:1": a_token_from_a_file,
    "docs/how-to/layers.md:python:0": compressed,
    "docs/how-to/monitoring.md:python:0": counts,
    "docs/how-to/monitoring.md:python:1": prometheus,
    "docs/how-to/monitoring.md:python:2": told,
    "docs/how-to/proxies.md:python:0": greets,
    "docs/how-to/several-bots.md:python:0": bots,
    "docs/how-to/task-queues.md:python:0": queue,
    "docs/how-to/views.md:python:0": views,
    "docs/how-to/views.md:python:1": tag,
    "docs/how-to/workers.md:python:0": outbox,
}
"""What must come of each block of Python."""


@pytest.mark.parametrize("name", RUN)
def test_python(
    name: str, reve: Reve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The block is run as it stands, and does what the page says."""
    found = next(one for one in blocks("python") if one.name == name)
    several = "several-bots" in name  # whose page gives them by keyword
    for variable, value in reve.environment.items():
        if several and variable != "REVE_SECRET_KEY":
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    Path("reve-token.txt").write_text(reve.sandbox.token)
    given: dict[str, Any] = {"app": site}
    if found.page == "README.md":
        first = block("README.md", "python", 0).text
        shop = Run(first, "shop", {}, reve, monkeypatch)
        given = {} if found.number == 0 else {"ADA": shop.ADA, "PAGE": shop.PAGE}
    run = Run(found.text, "block", given, reve, monkeypatch)
    run.module.printed = capsys.readouterr().out  # type: ignore[attr-defined]
    RUN[name](run)


# The shell ---------------------------------------------------------------------------------------

SHELL = [(found.name, line) for found in blocks("sh", "console") for line in commands(found)]


@pytest.mark.parametrize(("where", "line"), dict.fromkeys(SHELL), ids=lambda value: value)
def test_a_command(where: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of ours takes these options with these values, and has a --help; one that sends nothing is run. Of
    others, what they name is there."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("WEBHOOK_URL", "https://reve.invalid/bot"), ("TOKEN", "a-token"), ("CHATBOT_ID", "bot")):
        monkeypatch.setenv(f"REVE_{name}", value)
    Path("cookie.txt").write_text("session=1")
    program, *arguments = shlex.split(line)
    match program.removeprefix(".venv/bin/"):
        case "reve-middleware":
            command = group.commands[arguments[0]]
            command.make_context(arguments[0], arguments[1:]).close()
            assert CliRunner().invoke(group, [arguments[0], "--help"]).exit_code == 0
            if arguments[0] == "snippet" or "--dry-run" in arguments:
                assert CliRunner().invoke(group, arguments).exit_code == 0
        case "pip":
            for extra in re.findall(r"\[(.*?)\]", line):
                assert {*extra.split(",")} <= {*EXTRAS}
        case "python3" | "python":
            assert [one for one in arguments if one != "--upgrade-deps"] == ["-m", "venv", ".venv"]
        case _:
            assert program in NO_COMMANDS_OF_OURS, line


def test_every_command_in_a_sentence_is_one() -> None:
    """`reve-middleware …` inside a sentence names a command, and options that it has."""
    seen = 0
    for path in sorted({found.page for found in blocks()}):
        for line in re.findall(r"(?<!`)`reve-middleware ([a-z][^`]*)`", (ROOT / path).read_text()):
            name, *words = shlex.split(line)
            if name in EXTRAS:
                continue
            known = {one for each in group.commands[name].params for one in each.opts} | {"--help"}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line
            seen += 1
    assert seen > 5


# What else there is ------------------------------------------------------------------------------


def test_nginx(tmp_path: Path) -> None:
    """nginx takes the block that a page gives for it, in a `server`."""
    (found,) = blocks("nginx")
    events = "events { worker_connections 8; }"
    log = f"error_log {tmp_path}/log; pid {tmp_path}/pid;"
    folders = " ".join(f"{one}_temp_path {tmp_path};" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    http = f"http {{ access_log off; {folders} server {{ listen unix:{tmp_path}/s; {found.text} }} }}"
    (tmp_path / "nginx.conf").write_text(f"{log}\n{events}\n{http}\n")
    command = [
        executable(),
        "-t",
        "-q",
        "-p",
        str(tmp_path),
        "-c",
        str(tmp_path / "nginx.conf"),
        "-e",
        f"{tmp_path}/log",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_policy() -> None:
    """The policy that a page gives allows the script and its report."""
    header, _, policy = block("docs/how-to/csp.md", "text").text.strip().partition(": ")
    assert header == "Content-Security-Policy"
    assert permission([policy], ["https://www.example.com"], "/_reve/bridge.js", "/_reve/session").allowed


def is_run_elsewhere(file: str) -> bool:
    """Is an included file run by a test?"""
    if file.startswith("examples/handoff_"):
        return f'"{Path(file).stem}"' in (ROOT / "tests" / "test_handoff_queues.py").read_text()
    if file.startswith("docs/tutorial/"):
        return Path(file).name in (ROOT / "tests" / "test_docs_tutorials.py").read_text()
    sites = {f"examples/{name}_site.py" for name in SITES} | {"examples/django_site.py"}  # test_django_site.py
    kit = {"examples/conftest.py", "examples/test_starlette.py", "examples/test_flask.py"}  # test_testing_plugin.py
    return file in sites | kit


def how(found: Block) -> str | None:
    """What runs a block, or why nothing does."""
    if found.kind == "{literalinclude}":
        file = (ROOT / found.page).parent / found.argument
        return "a test of its own" if is_run_elsewhere(str(file.resolve().relative_to(ROOT))) else None
    if found.kind == "python":
        return "RUN" if found.name in RUN else None
    if found.kind in ("sh", "console"):
        return "test_a_command"
    if found.kind == "nginx" or found.name == "docs/how-to/csp.md:text:0":
        return "above"
    return NOT_RUN.get(found.name) or NOT_RUN.get(found.kind)


@pytest.mark.parametrize("found", blocks(), ids=lambda found: found.name)
def test_every_block_is_run(found: Block) -> None:
    """Or it is said why not; and nothing else looks like one."""
    assert how(found), f"{found.name}: give it a test, or a reason in NOT_RUN"
    if found.kind == "python":
        ast.parse(found.text)


def test_no_block_is_overlooked() -> None:
    """As many fences as blocks have, no reason for a block that is gone, and no indented code."""
    for path in {found.page for found in blocks()}:
        fences = re.findall(r"^ *```", (ROOT / path).read_text(), re.M)
        assert len(fences) == 2 * sum(found.page == path for found in blocks())
    names = {found.name for found in blocks()} | {found.kind for found in blocks()}
    assert {*RUN, *NOT_RUN} <= names
