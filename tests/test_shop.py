"""The demo shop, as ASGI and as WSGI; and the demo, which puts the middleware around it."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any
from wsgiref.validate import validator

import httpx
import pytest

from reve_middleware import __version__
from reve_middleware.cli import demo as demo_command
from reve_middleware.cli import demo_site, main
from reve_middleware.sandbox import shop as shop_module
from reve_middleware.sandbox.serving import serve_asgi, serve_wsgi
from reve_middleware.sandbox.shop import Ask, Shop


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, Shop]]:
    """The shop's address under either protocol."""
    shop = Shop(head_html='<meta name="by" content="site">', note_html="<p>Try this</p>")
    server: AbstractContextManager[str]
    server = serve_asgi(shop.asgi) if request.param == "asgi" else serve_wsgi(validator(shop.wsgi))
    with server as url:
        yield url, shop


@pytest.fixture
def visitor(served: tuple[str, Shop]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served[0], follow_redirects=True) as client:
        yield client


def test_a_page_is_a_complete_document(visitor: httpx.Client) -> None:
    """Type, charset, length, and what the site put into its head, at the head's end."""
    answer = visitor.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.text.startswith('<!doctype html>\n<html lang="en">\n<head>\n')
    assert '<meta name="by" content="site">\n</head>' in answer.text
    assert "<p>Try this</p>" in answer.text
    assert visitor.get("/shop.css").headers["content-type"] == "text/css; charset=utf-8"


def test_log_in_change_log_out(served: tuple[str, Shop], visitor: httpx.Client) -> None:
    """What a visitor does in the demo, and what the shop knows of it."""
    _, shop = served
    assert visitor.get("/api/me").json() == {"person": None}
    assert visitor.get("/account").url.path == "/login"
    assert visitor.post("/account", data={"phone": "1"}).url.path == "/login"

    answer = visitor.post("/login", data={"person": "grace"})
    assert answer.url.path == "/"
    assert "Good to see you again, Grace Hopper." in answer.text
    person = shop.user(visitor.cookies[shop.cookie])
    assert person is not None
    assert (person.id, person.name, person.plan) == ("grace", "Grace Hopper", "basic")

    saved = visitor.post("/account", data={"phone": ' "<+1>" '})
    assert "Saved." in saved.text
    assert 'value="&quot;&lt;+1&gt;&quot;"' in saved.text
    assert "Saved." not in visitor.get("/account").text
    assert visitor.get("/api/me").json()["person"]["phone"] == '"<+1>"'

    old = visitor.cookies[shop.cookie]
    assert "Log in" in visitor.post("/logout").text
    assert shop.cookie not in visitor.cookies
    assert shop.user(old) is None
    assert shop.user(None) is None


def test_the_session_cookie(visitor: httpx.Client) -> None:
    """Scripts cannot read it, and it is new with every login."""
    first, second = (
        visitor.post("/login", data={"person": "ada"}, follow_redirects=False).headers["set-cookie"] for _ in range(2)
    )
    assert first.endswith("; Path=/; HttpOnly; SameSite=Lax")
    assert first != second


def test_logging_in_again_ends_the_old_session(served: tuple[str, Shop], visitor: httpx.Client) -> None:
    """Nobody is two people."""
    _, shop = served
    visitor.post("/login", data={"person": "ada"})
    old = visitor.cookies[shop.cookie]
    visitor.post("/login", data={"person": "grace"})
    assert shop.user(old) is None


@pytest.mark.parametrize(
    ("method", "path", "form", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("PUT", "/", None, 405),
        ("GET", "/logout", None, 405),
        ("POST", "/login", {"person": "mallory"}, 400),
        ("POST", "/login", None, 400),
        ("POST", "/login", {"person": "a" * 5000}, 413),
    ],
)
def test_what_it_does_not_do(
    visitor: httpx.Client, method: str, path: str, form: dict[str, str] | None, status: int
) -> None:
    """Each with a page of its own."""
    answer = visitor.request(method, path, data=form)
    assert answer.status_code == status
    assert "Back to the shop" in answer.text
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("phone", ["", "  ", "1" * 41])
def test_a_phone_number_that_is_none(visitor: httpx.Client, phone: str) -> None:
    """The form comes back and says what is wrong."""
    visitor.post("/login", data={"person": "ada"})
    answer = visitor.post("/account", data={"phone": phone})
    assert answer.status_code == 422
    assert "A phone number has 1 to 40 characters." in answer.text


def test_a_form_of_another_site_is_refused(served: tuple[str, Shop], visitor: httpx.Client) -> None:
    """Its own origin passes."""
    for origin, status in (("http://evil.test", 403), ("null", 403), (served[0], 200)):
        answer = visitor.post("/login", data={"person": "ada"}, headers={"Origin": origin})
        assert answer.status_code == status


def test_head_has_no_body(visitor: httpx.Client) -> None:
    """But the length of what there would be."""
    answer = visitor.head("/login")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 1000


def test_only_so_many_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first."""
    monkeypatch.setattr(shop_module, "MAX_SESSIONS", 2)
    shop = Shop()
    found = []
    for _ in range(3):
        reply = shop.answer(Ask("POST", "/login", form=b"person=ada"))
        found.append(re.search("shop_session=([^;]+)", dict(reply.headers)["Set-Cookie"]).group(1))  # type: ignore[union-attr]
    assert [shop.user(session) is None for session in found] == [True, False, False]
    assert shop.answer(Ask("GET", "/account", cookies=f"other=1; shop_session={found[2]}")).status == 200


@pytest.mark.parametrize("sizes", [[9, 1], [5000, 5000]])
def test_a_form_may_come_in_pieces(sizes: list[int]) -> None:
    """They are put together, up to what a form may be; the rest is not read."""
    pieces = [b"person=ad", b"a"] if sizes == [9, 1] else [b"a" * size for size in sizes]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/login", "query_string": b"", "headers": []}
    asyncio.run(Shop().asgi(scope, receive, send))
    assert sent[0]["status"] == (303 if sizes == [9, 1] else 413)
    assert len(pieces) == (0 if sizes == [9, 1] else 1)


def test_the_shop_speaks_http_only() -> None:
    """An ASGI server is told so by an exception."""

    async def nothing(*_: Any) -> Any: ...

    with pytest.raises(RuntimeError, match="HTTP, not websocket"):
        asyncio.run(Shop().asgi({"type": "websocket"}, nothing, nothing))


# ---- the demo, and the command that runs it


@pytest.mark.parametrize("wsgi", [False, True], ids=["asgi", "wsgi"])
def test_the_demo_end_to_end(wsgi: bool) -> None:
    """What the browser would do, request by request: the bot learns who is there, and what changed, and forgets."""
    with demo_site(wsgi=wsgi) as site, httpx.Client(base_url=site.url, follow_redirects=True) as visitor:
        home = visitor.get("/").text
        assert site.sandbox.snippet(site.operator_url) in home
        assert f'href="{site.operator_url}"' in home
        script = re.search(r'<head>\n?<script src="([^"]+)"', home)
        assert script
        assert visitor.get(script.group(1)).status_code == 200

        session = httpx.post(f"{site.operator_url}/widget/session").json()
        ids = {"session_id": session["session_id"], "chatbot_id": session["chatbot_id"]}
        own = {"Origin": site.url, "Sec-Fetch-Site": "same-origin", "X-Reve-Bridge": "1"}
        assert visitor.post("/_reve/session", json=ids, headers=own).json() == {"status": "anonymous"}
        visitor.post("/login", data={"person": "ada"})
        assert site.sandbox.wait_for_pushes(1)[0].data["name"] == "Ada Lovelace"
        site.sandbox.rotate_token()
        visitor.post("/logout")
        last = site.sandbox.wait_for_pushes(2)[1]
        assert (last.endpoint, last.data, site.sandbox.knows(ids["session_id"])) == ("logout", {}, {})
        assert [request.status for request in site.sandbox.requests] == [200, 401, 200]


def test_the_command_starts_and_stops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says where to look; a signal ends it in good order, and the signals are as they were."""
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    for each in (signal.SIGINT, signal.SIGTERM):
        monkeypatch.setattr(demo_command, "sleep", lambda _, each=each: signal.raise_signal(each))
        assert main(["demo", "--port", "0", "--sandbox-port", "0"]) == 0
        told = capsys.readouterr().out
        assert len(re.findall(r"http://127\.0\.0\.1:\d+\n", told)) == 2
        assert told.endswith("Ctrl-C stops it.\nStopped.\n")
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("option", ["--port", "--sandbox-port"])
def test_a_port_in_use_is_one_line_with_the_cure(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of either server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        other = "--sandbox-port" if option == "--port" else "--port"
        assert main(["demo", option, port, other, "0"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"reve-middleware: {option} {port}: address already in use; choose another with {option} (0 picks one)"
    )


@pytest.mark.parametrize(("name", "more"), [("uvicorn", []), ("waitress.server", ["--wsgi"])])
def test_a_missing_server_is_one_line_with_the_cure(
    name: str, more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The servers are an extra."""
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["demo", "--port", "0", "--sandbox-port", "0", *more]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == f"reve-middleware: {name} is not installed: pip install 'reve-middleware[demo]'"


@pytest.mark.parametrize(
    ("line", "status", "told"),
    [
        ("--version", 0, f"reve-middleware {__version__}\n"),
        ("--help", 0, "Commands:"),
        ("demo --help", 0, "--sandbox-port PORT"),
        ("", 2, "Commands:"),
        ("nothing", 2, "No such command 'nothing'"),
        ("demo --port 65536", 2, "'65536' is not a port: use 0 to 65535"),
        ("demo --port http", 2, "'http' is not a port"),
        ("demo --host 192.0.2.1", 2, "'192.0.2.1' is not this machine: use 127.0.0.1, ::1 or localhost"),
        ("demo --host example.com", 2, "'example.com' is not this machine"),
    ],
)
def test_what_the_command_says(line: str, status: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help and complaints, with the usual exit statuses."""
    assert main(line.split()) == status
    found = capsys.readouterr()
    assert told in (found.out if status == 0 else found.err)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
def test_hosts_that_are_this_machine(host: str) -> None:
    """Any loopback address will do, all the way to the bot."""
    with demo_site(host=host) as site:
        assert httpx.get(site.url).status_code == httpx.get(site.operator_url).status_code == 200


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_process_ends_with_status_0(sent: signal.Signals) -> None:
    """As a user runs it: nothing but the welcome on the way, no traceback at the end."""
    code = "from reve_middleware.cli import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "demo", "--port", "0", "--sandbox-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            if line.startswith("Ctrl-C"):
                break
        process.send_signal(sent)
        assert process.wait(timeout=20) == 0
        assert process.stdout.read() == "Stopped.\n"
        assert "Traceback" not in process.stderr.read()
