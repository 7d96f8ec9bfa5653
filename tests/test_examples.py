"""The examples: each is a whole site in its framework's own way, and runs against the sandbox's webhook."""

import re
from collections.abc import Iterator

import httpx
import pytest
from example_sites import EXAMPLES, SITES, Customer, environment, load, running

from reve_middleware.sandbox import Sandbox
from reve_middleware.sandbox.serving import serve_asgi, serve_wsgi

ADA = {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}
IDS, MARK = "__Host-reve", "__Host-reve-mark"
TAG = re.compile(
    rb'<head><script src="/_reve/bridge\.js\?v=[0-9a-f]{16}" data-function="identify" data-bot="shop-bot"></script>'
)
LONGEST = 60
"""Lines of an example."""

pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated:DeprecationWarning")  # WebOb's, below Pyramid


@pytest.fixture(scope="module")
def bot() -> Iterator[tuple[Sandbox, str]]:
    """A bot, and the address of its webhook's server."""
    sandbox = Sandbox()
    with serve_asgi(sandbox.app) as address:
        yield sandbox, address


def heard(sandbox: Sandbox, *chats: str) -> list[tuple[str, object]]:
    """What the bot heard of these chats."""
    return [(push.session_id, push.data) for push in sandbox.pushes if push.session_id in chats]


@pytest.mark.parametrize("name", SITES)
def test_the_bot_knows_who_is_logged_in(name: str, bot: tuple[Sandbox, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tag, report, login, push, a route that is off, one that is on, a report of somebody logged in, sign-out: all
    of it works in each example, and the bot hears nothing else."""
    sandbox = bot[0]
    application = load(name, environment(*bot), monkeypatch).app
    one, two, before = f"{name}-1", f"{name}-2", len(sandbox.pushes)
    with running(name, application) as server:
        visitor, site = Customer(name, application, server), SITES[name]
        for path in site.on:
            page = visitor.get(path)
            assert (page.status, page.body.count(b"<script")) == (200, 1)
            assert TAG.search(page.body)
        strange = visitor.get(site.on[0]).body
        assert visitor.capture(one, "shop-bot").json == {"status": "anonymous"}
        assert {IDS, MARK} & set(visitor.jar) == {IDS}

        elsewhere = Customer(name, application, server)
        assert elsewhere.log_in().status == 303
        visitor.jar |= elsewhere.jar  # logged in, and no response has seen it
        page = visitor.get(site.off)
        assert (page.status, page.body.count(b"<script")) == (200, 0)
        assert {IDS, MARK} & set(page.cookies) == set()
        page = visitor.get(site.on[0])
        assert (page.body != strange, MARK in page.cookies) == (True, True)
        sandbox.wait_for_pushes(before + 1)
        assert heard(sandbox, one) == [(one, ADA)]

        assert visitor.capture(two, "shop-bot").json == {"status": "queued"}
        sandbox.wait_for_pushes(before + 2)
        for path in (*site.on, site.off):
            assert visitor.get(path).status == 200

        goodbye = visitor.send("logout")
        assert (goodbye.status, IDS in visitor.jar) == (303, False)
        assert "Max-Age=0" in goodbye.cookies[IDS]
        assert visitor.get(site.on[0]).body == strange
        visitor.log_in()
        assert {IDS, MARK} & set(visitor.get(site.on[0]).cookies) == set()
    assert heard(sandbox, one, two) == [(one, ADA), (two, ADA)]
    assert len(sandbox.pushes) == before + 2


@pytest.mark.parametrize("name", SITES)
def test_the_login_is_one_to_copy(name: str, bot: tuple[Sandbox, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms are taken by POST alone and lead nowhere but home; the wrong password, or none, lets nobody in; the
    session's cookie is kept from scripts, from other sites and from plain http."""
    application = load(name, environment(*bot), monkeypatch).app
    with running(name, application) as server:
        visitor, site = Customer(name, application, server), SITES[name]
        for form in ("login", "logout"):
            assert visitor.get(f"{site.mount}/{form}").status in (404, 405)
        strange = visitor.get(site.on[0]).body
        for refused in (visitor.log_in("wrong"), visitor.send("login"), visitor.send("login", name="ada")):
            assert refused.status in (400, 403, 422)
        assert visitor.get(site.on[0]).body == strange
        reply = visitor.send("login?next=//evil.example", name="ada", password="lovelace", next="//evil.example")
        assert httpx.URL(f"https://{visitor.host}/").join(reply.values("location")[0]).path == "/"
        assert httpx.URL(f"https://{visitor.host}/").join(reply.values("location")[0]).host == visitor.host
        cookies = [value.lower() for value in reply.values("set-cookie")]
        assert cookies
        for cookie in cookies:
            assert {"httponly", "secure", "samesite=lax"} <= {part.strip() for part in cookie.split(";")}, cookie
            assert "domain=" not in cookie
        assert visitor.get(site.on[0]).body != strange


@pytest.mark.parametrize("name", ["fastapi_flask", "flask"])
def test_under_a_real_server(name: str, bot: tuple[Sandbox, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With DEV=1 it runs on a developer's machine, by plain http: uvicorn for ASGI, waitress for WSGI."""
    sandbox = bot[0]
    application = load(name, environment(*bot, DEV="1"), monkeypatch).app
    site, chat, before = SITES[name], f"{name}-real", len(sandbox.pushes)
    with (
        (serve_asgi if site.kind == "asgi" else serve_wsgi)(application) as url,
        httpx.Client(base_url=url, follow_redirects=True) as visitor,
    ):
        login = visitor.post(f"{site.mount}/login", data={"name": "ada", "password": "lovelace"})
        assert TAG.search(login.content)
        report = visitor.post(
            "/_reve/session",
            json={"session_id": chat, "chatbot_id": "shop-bot"},
            headers={"Origin": url, "Sec-Fetch-Site": "same-origin", "X-Reve-Bridge": "1"},
        )
        assert report.json() == {"status": "queued"}
        sandbox.wait_for_pushes(before + 1)
        assert heard(sandbox, chat) == [(chat, ADA)]


def test_every_site_among_the_examples_is_run() -> None:
    """No example is left out, but for Django's, which has a test of its own."""
    assert {path.stem for path in EXAMPLES.glob("*_site.py")} - {"django_site"} == {f"{name}_site" for name in SITES}


@pytest.mark.parametrize("name", SITES)
def test_an_example_is_short_and_holds_no_secret(name: str) -> None:
    """At most 60 lines, how to run it at the top; link, token, ids and keys come from the environment."""
    text = (EXAMPLES / f"{name}_site.py").read_text()
    assert len(text.splitlines()) <= LONGEST
    assert re.match(rf'""".+: `(uvicorn|hypercorn|waitress-serve) {name}_site:app`\.\n', text)
    for keyword in ("webhook_url", "token=", "chatbot_id", 'secret_key="', "bots="):
        assert keyword not in text
