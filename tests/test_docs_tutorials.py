"""The tutorials: their programs are real sites, and their consoles show what is really said.

What differs between two runs (secrets, ports, the bot's link) or releases (the script's hash) is masked on both sides.
"""

from __future__ import annotations

import logging
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from pages import ROOT, block

from reve_middleware.cli import main
from reve_middleware.cli.group import commands
from reve_middleware.sandbox.serving import serve_asgi, serve_wsgi
from reve_middleware.testing import Reve, stand_in

ADA = {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}
PROGRAMS = {"fastapi": ("fastapi_before.py", "fastapi_after.py"), "flask": ("flask_before.py", "flask_after.py")}
SERVE: dict[str, Any] = {"fastapi": serve_asgi, "flask": serve_wsgi}
MASKS = {
    r"(?<=_TOKEN=)\S+": "…",
    r"(?<=_SECRET_KEY=)\S+": "…",
    r"http://127\.0\.0\.1:\d+": "http://127.0.0.1:…",
    r"[0-9a-f]{8}-[0-9a-f-]{27}": "…",
    r"(?<=\?v=)[0-9a-f]+": "…",
}


def masked(text: str) -> str:
    """Without what no two runs share."""
    for pattern, mask in MASKS.items():
        text = re.sub(pattern, mask, text)
    return text


def shown(name: str, number: int) -> str:
    """What one of the tutorial's consoles shows below its last command."""
    text = block(f"docs/tutorial/{name}.md", "console", number).text
    return masked(re.split(r"^\$ .*\n", text, flags=re.M)[-1])


@pytest.fixture
def reve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reve]:
    """The sandbox, and its four lines pasted into the terminal."""
    with stand_in() as reve:
        for variable, value in reve.environment.items():
            monkeypatch.setenv(variable, value)
        yield reve


def program(file: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`shop.py`, as a server imports it."""
    spec = spec_from_file_location("shop", ROOT / "docs" / "tutorial" / file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop", module)  # where Flask looks for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_site_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 2: log in as Ada, and out again; there is no chat yet."""
    app = program(PROGRAMS[name][0], monkeypatch).app
    with SERVE[name](app) as url, httpx.Client(base_url=url, follow_redirects=True) as browser:
        seen = [browser.get("/").text, browser.post("/login").text, browser.post("/logout").text]
    greetings = [re.findall("<h1>(.*)</h1>", text) for text in seen]
    assert greetings == [["Hello, stranger"], ["Hello, Ada Lovelace"], ["Hello, stranger"]]
    assert "<script" not in "".join(seen)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_site_after(
    name: str, reve: Reve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps 4 to 6: what the site says at its start, what curl and `check` show, and that the bot knows."""
    with caplog.at_level(logging.WARNING, "reve_middleware"):
        app = program(PROGRAMS[name][1], monkeypatch).app
    with SERVE[name](app) as url, httpx.Client(base_url=url, follow_redirects=True) as browser:
        (line,) = [line for line in browser.get("/").text.splitlines() if "bridge" in line]
        assert f"{masked(line)}\n" == shown(name, 3)
        looked = CliRunner().invoke(commands, ["check", f"{url}/"])
        assert (masked(looked.output), looked.exit_code) == (shown(name, 4), 0)

        visitor = reve.visitor(browser)
        assert visitor.chat() == "anonymous"
        browser.post("/login")
        assert visitor.new_chat() in ("queued", "current")
        assert visitor.knows == ADA
        browser.post("/logout")
        assert visitor.new_chat() == "anonymous"
    said = {vars(record)["reve"]: record.getMessage() for record in caplog.records if record.name == "reve_middleware"}
    assert list(said) == ["dev"]  # and nothing of what `check` has tried
    assert said["dev"] in shown(name, 2).splitlines()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_sandbox(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Step 3: what the sandbox prints; the widget's script is the one that step 4 pastes."""

    def stop(seconds: float) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("reve_middleware.cli.sandbox.sleep", stop)
    assert main(["sandbox", "--port", "0"]) == 0
    told = capsys.readouterr().out.removesuffix("Stopped.\n")
    assert masked(told) == shown(name, 1)
    assert [shlex.split(line)[0] for line in told.splitlines() if "REVE_" in line][:4] == ["export"] * 4
    script = masked(told[told.index("<script>") : told.index("</script>")])
    assert script in masked((ROOT / "docs" / "tutorial" / PROGRAMS[name][1]).read_text())


def test_both_tutorials_say_the_same() -> None:
    """Where they do not speak of a framework, they have the same words."""
    one, two = ((ROOT / "docs" / "tutorial" / f"{name}.md").read_text() for name in PROGRAMS)
    for heading in ("## 3. The stand-in for REVE", "## 6. The bot knows", "## What you have"):
        assert one.partition(heading)[2].partition("\n## ")[0] == two.partition(heading)[2].partition("\n## ")[0] != ""
