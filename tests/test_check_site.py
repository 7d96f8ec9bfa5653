"""`reve-middleware check` against real sites on a real server: each mistake is named, and a right site has none."""

import gzip
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from checking import PAGE, SETTINGS, Street, answering, run, street, wrapped
from fakes import Webhook
from faults import FaultServer, raw, reset_after_request, silence
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from test_webhook_tls import certificate

from reve_middleware import ReveWSGIMiddleware
from reve_middleware.sandbox import Sandbox
from reve_middleware.sandbox.serving import serve_asgi, serve_wsgi

App = Callable[..., Any]
RIGHT = {"page", "tag", "script", "script_kept", "refuses", "host", "no_cors", "cookies"}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with street(certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")) as made:
        yield made


def test_a_right_site_has_only_good_findings(town: Street) -> None:
    """A right site, by https: everything is ok, exit status 0; and nothing that was sent could capture a chat."""
    report = town.look(wrapped())
    assert report.exit_status == 0
    assert report.codes == dict.fromkeys(RIGHT, "ok")
    assert {one.status for one in town.asked if one.method == "POST"} == {403, 413, 415, 422}
    assert all(one.path in ("/", "/_reve/bridge.js", "/_reve/session") for one in town.asked)


def test_what_it_tries_is_no_news(town: Street, caplog: pytest.LogCaptureFixture) -> None:
    """The site's log says nothing of the refusals that were tried: each warning is said once, and is for others."""
    site = wrapped(dev=True)
    town.look(site, plain=True)
    browsers = {"X-Reve-Bridge": "1", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
    assert httpx.post(f"{town.http}/_reve/session", content=b"{}", headers=browsers).status_code == 422
    assert [vars(one)["reve"] for one in caplog.records if one.name == "reve_middleware"] == ["dev", "ids"]


def test_it_looks_as_a_browser_does(town: Street) -> None:
    """The page is asked for as a navigation, the script as a script; and the cookies of neither are ours."""
    town.look(wrapped(), env={"REVE_CHECK_COOKIE": "Cookie: session=abc; __Host-reve=mine; reve-mark=mine"})
    page = next(one for one in town.asked if one.path == "/")
    script = next(one for one in town.asked if one.path == "/_reve/bridge.js")
    assert page.headers[b"accept-encoding"] == b"gzip, deflate"
    assert (page.headers[b"sec-fetch-mode"], page.headers[b"sec-fetch-dest"]) == (b"navigate", b"document")
    assert script.headers[b"sec-fetch-dest"] == b"script"
    cookies = {one.headers.get(b"cookie") for one in town.asked}
    assert cookies == {b"session=abc", None}
    forgot = [one for one in town.asked if one.method == "DELETE" and one.status == 200]
    assert [one.headers.get(b"cookie") for one in forgot] == [None], "a DELETE must not speak for a chat under way"


def test_a_site_in_development(town: Street) -> None:
    """By plain http on this machine `dev=True` is right; without it, one error says so."""
    assert town.look(wrapped(dev=True), plain=True).codes == dict.fromkeys(RIGHT | {"dev"}, "ok")
    report = town.look(wrapped(), plain=True)
    assert (report.exit_status, report.wrong) == (1, {"plain_http": "error"})


def test_a_site_under_wsgi() -> None:
    """Under WSGI, where some servers let a script imitate Fetch Metadata, a right site is as right."""

    def site(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html"), ("X-Content-Type-Options", "nosniff")])
        return [PAGE]

    app = ReveWSGIMiddleware(site, **SETTINGS, profile=lambda _: None, client=Webhook(), dev=True)
    with serve_wsgi(app) as url:
        assert run(f"{url}/").codes == dict.fromkeys(RIGHT | {"dev"}, "ok")


def test_dev_behind_https(town: Street) -> None:
    """`dev=True` on a site with https is an error: its cookies have neither prefix nor Secure."""
    assert town.look(wrapped(dev=True)).wrong == {"dev_in_public": "error"}


async def _changed(app: App, scope: Any, receive: Any, send: Any, **headers: bytes | None) -> None:
    """Pass on with response headers replaced, or left out."""
    names = {name.replace("_", "-").encode(): value for name, value in headers.items()}

    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0].lower() not in names]
            added = [(name, value) for name, value in names.items() if value is not None]
            message = {**message, "headers": kept + added}
        await send(message)

    await app(scope, receive, sending)


def with_host(app: App) -> App:
    """A proxy that puts its own Host."""

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        headers = [(name, b"app:8000" if name == b"host" else value) for name, value in scope["headers"]]
        await app({**scope, "headers": headers}, receive, send)

    return proxy


def without_prefix(app: App, prefix: str = "/shop") -> App:
    """A proxy that strips a prefix and tells nobody."""
    nothing = answering(404, body=b"", kind="text/plain")

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        inner = {**scope, "path": path.removeprefix(prefix), "raw_path": path.removeprefix(prefix).encode()}
        await (app if path.startswith(f"{prefix}/") else nothing)(inner, receive, send)

    return proxy


def kept_by_a_cdn(app: App) -> App:
    """A proxy with its own mind about caching."""

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        headers = {"cache_control": b"public, max-age=600", "age": b"120", "set_cookie": b"visitor=1"}
        await _changed(app, scope, receive, send, **headers)

    return proxy


def behind_a_login(app: App) -> App:
    """A login wall outside of the middleware."""
    wall = answering(401, body=b"<!doctype html><html><head></head>Log in</html>")

    async def login(scope: Any, receive: Any, send: Any) -> None:
        is_known = (b"cookie", b"session=ada") in scope["headers"]
        await (app if is_known else wall)(scope, receive, send)

    return login


def always_gzip(scope: Any, receive: Any, send: Any) -> Any:
    return answering(200, {"content-encoding": "gzip", "vary": "accept-encoding"}, gzip.compress(PAGE))(
        scope, receive, send
    )


POLICY = "content-security-policy"
MISTAKES: dict[str, tuple[App, str, dict[str, str]]] = {
    "compressed inside": (wrapped(GZipMiddleware(answering(), minimum_size=1)), "/", {"compressed_inside": "error"}),
    "compressed whether asked or not": (wrapped(always_gzip), "/", {"tag_missing": "error"}),
    "no head": (wrapped(answering(body=b"<!doctype html><body>Hello")), "/", {"tag_missing": "error"}),
    "a policy that allows nothing": (
        wrapped(answering(headers={POLICY: "default-src 'none'"})),
        "/",
        {"tag_missing": "error"},
    ),
    "a policy added outside": (
        lambda *args: _changed(wrapped(), *args, content_security_policy=b"default-src 'none'"),
        "/",
        {"policy_blocks": "error"},
    ),
    "one nonce for everybody": (
        wrapped(answering(headers={POLICY: "script-src 'nonce-YWJj'"})),
        "/",
        {"nonce_repeated": "error"},
    ),
    "a route that is left out": (wrapped(exclude=("/",)), "/", {"tag_missing": "error"}),
    "no middleware": (answering(), "/", {"tag_missing": "error"}),
    "two wrappers, the inner one by hand": (
        wrapped(answering(body=PAGE.replace(b"<title>", b'<script src="/_reve/bridge.js?v=1"></script><title>'))),
        "/",
        {"tag_twice": "warning"},
    ),
    "a proxy with its own Host": (with_host(wrapped()), "/", {"host_changed": "warning"}),
    "a prefix that is stripped": (without_prefix(wrapped()), "/shop/bread", {"script_prefix": "error"}),
    "CORS for everybody outside": (
        CORSMiddleware(
            wrapped(), allow_origins=["*"], allow_headers=["*"], allow_methods=["*"], allow_credentials=True
        ),  # type: ignore[arg-type]
        "/",
        {"cors": "error", "refuses_preflight": "error"},
    ),
    "a cache outside": (
        kept_by_a_cdn(wrapped()),
        "/",
        {
            "page_cookie_shared": "error",
            "script_not_kept": "warning",
            "script_cookie": "warning",
            "script_other_kept": "error",
            "capture_kept": "warning",
            "cookies_lost": "error",
        },
    ),
    "a page with status 404": (wrapped(answering(404)), "/", {"status": "warning"}),
}


@pytest.mark.parametrize(("site", "path", "wrong"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_named(town: Street, site: App, path: str, wrong: dict[str, str]) -> None:
    """Each mistake is found, with its level, and nothing else is."""
    report = town.look(site, path)
    assert report.wrong == wrong
    assert report.exit_status == (1 if "error" in wrong.values() else 0)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("no head", "has no <head>"),
        ("a policy that allows nothing", "Content-Security-Policy does not allow it"),
        ("a route that is left out", "the middleware is there, but it left this page alone"),
        ("no middleware", "no sign of reve-middleware"),
        ("compressed whether asked or not", "it is compressed, asked or not"),
    ],
)
def test_why_the_tag_is_missing(town: Street, mistake: str, words: str) -> None:
    """Where the tag is missing, the reason is told."""
    assert words in town.look(*MISTAKES[mistake][:2]).text("tag_missing")


def test_compression_outside_is_right(town: Street) -> None:
    """Compressed by a layer outside of the middleware, a page has its tag."""
    report = town.look(GZipMiddleware(wrapped(), minimum_size=1))  # type: ignore[arg-type]
    assert report.codes == dict.fromkeys(RIGHT | {"compressed"}, "ok")


def test_a_login_wall_inside_and_outside(town: Street) -> None:
    """A page behind a login is looked at as strangers see it, and with a cookie as its owner does. A wall outside of
    the middleware is named."""
    inside = wrapped(behind_a_login(answering()))
    assert town.look(inside).wrong == {"login": "warning"}
    assert town.look(inside, env={"REVE_CHECK_COOKIE": "session=ada"}).wrong == {}
    assert town.look(behind_a_login(wrapped())).wrong == {"login": "warning", "tag_missing": "error"}
    outside = town.look(behind_a_login(wrapped()), "/", "--cookie-file", "-", stdin="session=ada\n")
    assert set(outside.wrong) == {
        "refuses_no_origin", "refuses_cross_site", "refuses_same_site", "refuses_stranger", "refuses_cross_forget",
        "refuses_preflight", "host_changed", "forget",
    }  # fmt: skip


async def account(request: Request) -> Response:
    if "user" not in request.session:
        return RedirectResponse("/login?next=/account", 302)
    return HTMLResponse(PAGE)


async def login(request: Request) -> Response:
    request.session["user"] = request.query_params.get("user", "")
    return HTMLResponse(PAGE) if "user" in request.query_params else HTMLResponse(PAGE, headers={"Set-Cookie": "a=b"})


def with_sessions(**keywords: Any) -> App:
    """A site with Starlette's sessions inside."""
    inner = Starlette(
        routes=[Route("/account", account), Route("/login", login)],
        middleware=[Middleware(SessionMiddleware, secret_key="s" * 32, https_only=True)],
    )

    def profile(request: Request) -> dict[str, str] | None:
        user = request.session.get("user")
        return {"id": user, "name": "Ada"} if user else None

    return wrapped(inner, profile=profile, **keywords)


def test_a_redirect_to_the_login(town: Street) -> None:
    """A redirect is followed and told about, without its query."""
    report = town.look(with_sessions(), "/account")
    assert report.wrong == {"redirect": "warning"}
    assert "/login;" in report.text("redirect")
    assert "next" not in report.output


SESSION = ("--session", "session-canary", "--chatbot-id", "shop-bot")


def test_a_real_capture(town: Street) -> None:
    """With --session a chat is captured, pushed for whom the cookie belongs to, and forgotten; its id is not shown."""
    webhook = Webhook()
    site = with_sessions(client=webhook)
    town.site, town.asked = site, []
    cookie = _session_cookie(town)
    report = town.look(site, "/account", *SESSION, env={"REVE_CHECK_COOKIE": cookie})
    assert report.wrong == {}
    assert {code for code in report.codes if report.codes[code] == "ok"} >= {"capture", "undone", "cookies"}
    assert [post.chat for post in webhook.wait_for(1)] == [("shop-bot", "session-canary")]
    assert webhook.posts[0].data == {"id": "ada", "name": "Ada"}
    forgot = [one for one in town.asked if one.method == "DELETE" and one.status == 200]
    assert b"__Host-reve=" not in forgot[0].headers.get(b"cookie", b"")
    assert b"__Host-reve=" in forgot[1].headers[b"cookie"]
    assert "canary" not in report.output
    assert cookie.partition("=")[2] not in report.output
    site.close()  # type: ignore[attr-defined]


def _session_cookie(town: Street) -> str:
    import ssl

    import httpx

    context = ssl.create_default_context(cafile=town.ca_file)
    with httpx.Client(verify=context, trust_env=False) as client:
        client.get(f"{town.https}/login?user=ada")
        return f"session={client.cookies['session']}"


@pytest.mark.parametrize(
    ("keywords", "options", "wrong"),
    [
        ({}, SESSION, {"capture": "warning"}),  # nobody is logged in
        ({"consent": lambda _: False}, SESSION, {"capture": "warning"}),
        ({}, (*SESSION[:2], "--chatbot-id", "another"), {"capture": "error", "tag_bot": "warning"}),
        ({"session_id_pattern": "[0-9]+"}, SESSION, {"capture": "error"}),
        ({"cookie": "mine"}, SESSION, {"capture": "warning"}),
    ],
    ids=["nobody", "no consent", "another bot", "another pattern", "another cookie"],
)
def test_a_capture_that_says_nothing(
    town: Street, keywords: dict[str, Any], options: tuple[str, ...], wrong: dict[str, str]
) -> None:
    """What became of a capture is told in plain words, whatever became of it."""
    report = town.look(wrapped(**keywords), "/", *options)
    assert report.wrong == wrong
    assert "canary" not in report.output


# What cannot be looked at ----------------------------------------------------------------------------


def redirecting(target: str) -> App:
    return answering(302, {"location": target})


NO_PAGE: dict[str, tuple[App, str]] = {
    "an image": (answering(kind="image/png"), "not_html"),
    "a redirect to another origin": (redirecting("https://elsewhere.invalid/login"), "redirect_elsewhere"),
    "a redirect to no address": (redirecting("javascript:alert(1)"), "redirect_wrong"),
    "a redirect to itself": (redirecting("/"), "redirects"),
}


@pytest.mark.parametrize(("site", "code"), NO_PAGE.values(), ids=NO_PAGE)
def test_no_page(town: Street, site: App, code: str) -> None:
    """Where there is no page to look at, exit status 2; what is on another origin is not asked."""
    report = town.look(site)
    assert (report.exit_status, report.codes[code]) == (2, "error")
    assert len(town.asked) <= 11


def test_a_certificate_that_nobody_vouches_for(town: Street) -> None:
    """A certificate that is not trusted is named as the reason."""
    report = run(f"{town.https}/")
    assert report.exit_status == 2
    assert "certificate is not right: self-signed certificate" in report.text("unreachable")


def test_nothing_listens() -> None:
    """Nor where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    report = run(f"http://127.0.0.1:{port}/")
    assert (report.exit_status, list(report.codes)) == (2, ["unreachable"])
    assert "nothing listens there" in report.text("unreachable")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (silence, "no answer within"),
        (reset_after_request, "the connection failed"),
        (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "does not speak HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort"), "does not speak HTTP"),
    ],
    ids=["silence", "reset", "not HTTP", "cut short"],
)
def test_what_does_not_answer(answer: Any, words: str) -> None:
    """Whatever a server does instead of answering, one line says why, in time."""
    with FaultServer(default=answer) as server:
        report = run(f"http://127.0.0.1:{server.url.split(':')[2].split('/')[0]}/", "--timeout", "0.2")
    assert report.exit_status == 2
    assert words in report.text("unreachable")


# The webhook -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bot() -> Iterator[tuple[Sandbox, str]]:
    sandbox = Sandbox(chatbot_id="shop-bot")
    with serve_asgi(sandbox.app) as url:
        yield sandbox, url + sandbox.webhook_path


def test_the_webhook(town: Street, bot: tuple[Sandbox, str]) -> None:
    """With --webhook the link is tried without a token; with --push a push to a chat that cannot exist tries the token.
    No part of link or token is shown."""
    sandbox, link = bot
    env = {"REVE_WEBHOOK_URL": link, "REVE_TOKEN": sandbox.token, "REVE_CHATBOT_ID": "shop-bot"}
    town.site = wrapped()
    looks = [
        town.look(town.site, "/", "--webhook", env=env),
        town.look(town.site, "/", "--webhook", "--push", "--endpoint", "login", env=env),
        town.look(town.site, "/", "--webhook", "--push", env={**env, "REVE_TOKEN": "wrong-canary"}),
        town.look(town.site, "/", "--webhook", env={**env, "REVE_WEBHOOK_URL": link.replace("http:", "https:")}),
    ]
    assert [look.wrong for look in looks] == [{}, {}, {"push_token": "error"}, {"webhook_tls": "error"}]
    assert (looks[0].codes["webhook"], looks[1].codes["push"]) == ("ok", "ok")
    assert "info" not in looks[0].codes.values()
    pushed = sandbox.pushes
    assert [(one.endpoint, one.bot_id, one.data) for one in pushed] == [("login", "shop-bot", {})]
    assert pushed[0].session_id.startswith("reve-middleware-check-")
    for look in looks:
        for secret in (sandbox.token, "canary", sandbox.webhook_path.rpartition("/")[2], pushed[0].session_id):
            assert secret not in look.output


def test_secrets_stay_in_the_settings() -> None:
    """The settings that every test here uses are canaries: the site's own must never be seen."""
    assert "canary" in SETTINGS["token"] + SETTINGS["webhook_url"]
