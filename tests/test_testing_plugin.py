"""The test kit as a plugin of pytest: the examples, the environment, and what it says where something is missing."""

import os
import sys
from pathlib import Path

import pytest

from reve_middleware import testing_standin
from reve_middleware.testing import Reve

pytest_plugins = ["pytester"]

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("REVE_WEBHOOK_URL", "REVE_TOKEN", "REVE_CHATBOT_ID", "REVE_SECRET_KEY")
OLD_STARLETTE = "ignore:The anyio.abc.BlockingPortal alias:DeprecationWarning"
ALONE = ("-p", "no:cacheprovider", "-W", "error", "-W", OLD_STARLETTE)
SEEN = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")
"""In the run of pytest around it, that is."""

assert issubclass(Reve, object), "imported here, since what a run of pytester imports is gone when it ends"


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of somebody else's, whose conftest.py switches the plugin on."""
    for name in (*NAMES, "DEV", "SITE_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest((EXAMPLES / "conftest.py").read_text())
    return pytester


@pytest.mark.parametrize("name", ["starlette", "flask"])
def test_the_examples_pass(folder: pytest.Pytester, name: str) -> None:
    """Each example tests the site beside it, and is short enough to be read."""
    for file in (f"{name}_site.py", f"test_{name}.py"):
        (folder.path / file).write_text((EXAMPLES / file).read_text())
    text = (EXAMPLES / f"test_{name}.py").read_text()
    result = folder.runpytest_inprocess(*ALONE, *SEEN)
    result.assert_outcomes(passed=text.count("\ndef test_"))
    assert len(text.splitlines()) <= 80


def test_every_test_among_the_examples_is_run() -> None:
    """No example of tests is left out above."""
    assert {path.name for path in EXAMPLES.glob("test_*.py")} == {"test_starlette.py", "test_flask.py"}


def test_the_environment_is_the_stand_ins_until_pytest_ends(
    folder: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a test module is imported, the four variables are the stand-in's, whatever they were; at the end they are
    what they were, or not there."""
    monkeypatch.setenv("REVE_TOKEN", "the real one")
    folder.makepyfile(
        """
        import os

        AT_IMPORT = {name: value for name, value in os.environ.items() if name.startswith("REVE_")}

        def test_one(reve):
            assert AT_IMPORT == reve.environment
            assert AT_IMPORT["REVE_WEBHOOK_URL"].startswith("http://127.0.0.1:")
            assert AT_IMPORT["REVE_WEBHOOK_URL"] == reve.settings["webhook_url"]
            assert "the real one" not in AT_IMPORT.values()

        def test_two(reve):
            assert AT_IMPORT == reve.environment
            assert reve.settings["token"]() == AT_IMPORT["REVE_TOKEN"], "whatever a test before has rotated"
            reve.rotate_token()
            assert reve.settings["token"]() != AT_IMPORT["REVE_TOKEN"]

        def test_three(reve):
            assert reve.settings["token"]() == AT_IMPORT["REVE_TOKEN"]
            assert reve.django_settings["DEV"] is True
        """
    )
    folder.runpytest_inprocess(*ALONE, *SEEN).assert_outcomes(passed=3)
    assert {name: os.environ.get(name) for name in NAMES} == {**dict.fromkeys(NAMES), "REVE_TOKEN": "the real one"}


def test_a_conftest_that_imports_its_site(folder: pytest.Pytester) -> None:
    """With `-p reve_middleware.testing` the variables are there before the first conftest.py is imported."""
    folder.makeconftest("import os\nSEEN = os.environ['REVE_TOKEN']\n")
    folder.makepyfile("from conftest import SEEN\ndef test_one(reve): assert reve.environment['REVE_TOKEN'] == SEEN")
    folder.runpytest_inprocess(*ALONE, *SEEN, "-p", "reve_middleware.testing").assert_outcomes(passed=1)
    assert {os.environ.get(name) for name in NAMES} == {None}


def test_a_run_without_the_fixture_starts_no_server(folder: pytest.Pytester) -> None:
    """The address is taken when pytest begins; nobody listens there until a test asks for `reve`."""
    folder.makepyfile(
        """
        import os, socket
        from urllib.parse import urlsplit

        def reached():
            address = urlsplit(os.environ["REVE_WEBHOOK_URL"])
            with socket.socket() as caller:
                return caller.connect_ex((address.hostname, address.port)) == 0

        def test_one():
            assert not reached()

        def test_two(reve):
            assert reached()
        """
    )
    folder.runpytest_inprocess(*ALONE, *SEEN).assert_outcomes(passed=2)


def test_without_a_server_it_says_what_to_install(folder: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn belongs to the extra."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    folder.makepyfile("def test_one(reve): ...")
    result = folder.runpytest_inprocess(*ALONE, *SEEN)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the fixture reve needs uvicorn: pip install 'reve-middleware?testing?'"])


def test_a_message_points_at_the_test(folder: pytest.Pytester) -> None:
    """A failed test shows its own line and the message, and no line of the kit."""
    folder.makepyfile(
        """
        from starlette.applications import Starlette
        from starlette.responses import HTMLResponse
        from starlette.routing import Route
        from starlette.testclient import TestClient

        def test_one(reve):
            site = Starlette(routes=[Route("/", lambda request: HTMLResponse("<html><head></head></html>"))])
            reve.visitor(TestClient(site)).chat()
        """
    )
    result = folder.runpytest_inprocess(*ALONE, *SEEN)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([">*reve.visitor(TestClient(site)).chat()", "E*the site is not wrapped*"])
    assert "testing_visitor.py" not in result.stdout.str()
    assert testing_standin.__name__ not in result.stdout.str()


def test_nobody_gets_the_plugin_unasked() -> None:
    """No entry point loads it into every run of pytest."""
    text = (EXAMPLES.parent / "pyproject.toml").read_text()
    assert "pytest11" not in text
