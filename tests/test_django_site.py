"""The Django example, in a process of its own: one file, under ASGI and under WSGI, against the sandbox."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from drive import KEY
from fakes import PATIENCE

from reve_middleware.sandbox import Sandbox
from reve_middleware.sandbox.serving import serve_asgi

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "django_site.py"
TAG = re.compile(
    rb'<head><script src="/_reve/bridge\.js\?v=[0-9a-f]{16}" data-function="identify" data-bot="shop-bot"></script>'
)
ADA = {"id": 1, "name": "Ada", "email": "ada@shop.example"}
SERVER = """
import sys
import django_site
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.core.management import call_command
from reve_middleware.sandbox.serving import serve_asgi, serve_wsgi

PBKDF2PasswordHasher.iterations = 1  # its time is not what is tested
call_command("check", fail_level="WARNING", stdout=sys.stderr)
User.objects.create_user("ada", "ada@shop.example", "lovelace", first_name="Ada")
with serve_asgi(django_site.asgi) as asgi, serve_wsgi(django_site.wsgi) as wsgi:
    print(asgi, wsgi, flush=True)
    sys.stdin.read()
"""
"""Servers in the site's process; they end when the test hangs up."""


@pytest.fixture(scope="module")
def bot() -> Iterator[tuple[Sandbox, str]]:
    sandbox = Sandbox()
    with serve_asgi(sandbox.app) as address:
        yield sandbox, address


@pytest.fixture(scope="module")
def addresses(bot: tuple[Sandbox, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the example is served, by protocol."""
    sandbox, address = bot
    given = {
        "DEV": "1",
        "SITE_SECRET": "a secret of the site, for tests",
        "SITE_DATABASE": str(tmp_path_factory.mktemp("django") / "site.sqlite3"),
        "REVE_WEBHOOK_URL": address + sandbox.webhook_path,
        "REVE_TOKEN": sandbox.token,
        "REVE_CHATBOT_ID": sandbox.chatbot_id,
        "REVE_SECRET_KEY": KEY,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(EXAMPLE.parent), str(ROOT), os.environ.get("PYTHONPATH")))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    python = [sys.executable, "-W", "error"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, **given}
    subprocess.run([*python, str(EXAMPLE), "migrate", "--verbosity=0"], env=environment, check=True, timeout=PATIENCE)
    with subprocess.Popen([*python, "-c", SERVER], env=environment, text=True, **pipes) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        line = server.stdout.readline().split()
        if not line:
            pytest.fail(f"the example did not start: {server.stderr.read()}", pytrace=False)
        yield dict(zip(("asgi", "wsgi"), line, strict=True))
        server.stdin.close()
        assert server.wait(PATIENCE) == 0
        assert "no issues" in server.stderr.read()


class Customer(httpx.Client):
    """Somebody with a browser of their own."""

    def submit(self, form: str, **fields: str) -> httpx.Response:
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', self.get("/").text)
        assert token is not None
        return self.post(form, data={"csrfmiddlewaretoken": token[1], **fields})

    def log_in(self, password: str = "lovelace") -> httpx.Response:
        return self.submit("/login", username="ada", password=password)

    def report(self, chat: str) -> str:
        headers = {"Origin": str(self.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin", "X-Reve-Bridge": "1"}
        answer = self.post("/_reve/session", json={"session_id": chat, "chatbot_id": "shop-bot"}, headers=headers)
        return str(answer.json()["status"])


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_the_bot_knows_who_is_logged_in(protocol: str, bot: tuple[Sandbox, str], addresses: dict[str, str]) -> None:
    """Tag, report, login, push, a route that is off, one that is on, a report of somebody logged in, logout: all of it
    works, under ASGI and under WSGI, and the bot hears nothing else."""
    sandbox, before = bot[0], len(bot[0].pushes)
    one, two = f"{protocol}-1", f"{protocol}-2"
    with Customer(base_url=addresses[protocol]) as visitor, Customer(base_url=addresses[protocol]) as elsewhere:
        for path, tags in {"/": 1, "/legal/contact": 1, "/legal/terms": 0}.items():
            assert len(TAG.findall(visitor.get(path).content)) == tags
        assert visitor.report(one) == "anonymous"
        assert elsewhere.log_in("wrong").status_code == 200
        assert elsewhere.log_in().status_code == 302
        visitor.cookies.update(elsewhere.cookies)  # logged in, and no response has seen it
        visitor.get("/legal/terms")
        assert "reve-mark" not in visitor.cookies
        page = visitor.get("/")
        assert ("Hello Ada" in page.text, "reve-mark" in page.cookies) == (True, True)
        sandbox.wait_for_pushes(before + 1)
        assert visitor.report(two) == "queued"
        sandbox.wait_for_pushes(before + 2)
        assert visitor.get("/").headers.get_list("set-cookie")[1:] == []

        goodbye = visitor.submit("/logout")
        assert (goodbye.status_code, goodbye.headers["location"]) == (302, "/")
        assert "reve" not in visitor.cookies
        visitor.log_in()
        assert "reve-mark" not in visitor.get("/").cookies
    heard = [(push.session_id, push.data) for push in sandbox.pushes[before:]]
    assert heard == [(one, ADA), (two, ADA)]


def test_the_example_is_short_and_holds_no_secret() -> None:
    """At most 60 lines, how to run it at the top; link, token, ids and keys come from the environment."""
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 60
    assert re.match(r'""".+: `uvicorn django_site:asgi`\.\n', text)
    assert not re.search(r"WEBHOOK_URL|TOKEN|CHATBOT_ID|BOTS|SECRET_KEY=\"", text)
