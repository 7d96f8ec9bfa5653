"""The origin rule through both shells: in every refused row no cookie, no push, and no word to the application.

The rule itself is a pure function with a table of its own (test_capture_origin.py). Here are the cases that Go's
http.CrossOriginProtection is tested with, under our stricter rule, then what attackers and odd browsers send.
"""

import json
from typing import Any

import pytest
from drive import HOST, Asked, Call, Last, Reply, ShellKind, Start
from shop import Shop
from starlette.middleware.cors import CORSMiddleware
from test_capture_origin import ALLOWED, ORIGINS

from reve_middleware import environ

Headers = list[tuple[str, str]]
SITE, ORIGIN, AT_HOME = "sec-fetch-site", "origin", ("host", HOST)
REPORT = json.dumps({"session_id": "attackers-chat", "chatbot_id": "bot"}).encode()
OF_THE_BRIDGE = [("x-reve-bridge", "1"), ("content-type", "application/json"), ("cookie", "user=ada")]
BOOKS = "xn--bcher-kva.example"

# name, method, headers, scheme by which we are reached, status
GO: list[tuple[str, str, Headers, str, int]] = [
    ("same-origin", "POST", [AT_HOME, (SITE, "same-origin")], "https", 200),
    ("none", "POST", [AT_HOME, (SITE, "none")], "https", 403),  # Go takes it: a person typed the address
    ("cross-site", "POST", [AT_HOME, (SITE, "cross-site")], "https", 403),
    ("same-site", "POST", [AT_HOME, (SITE, "same-site")], "https", 403),
    ("no header, no origin", "POST", [AT_HOME], "https", 403),  # Go takes it: no browser
    ("no header, our origin", "POST", [AT_HOME, (ORIGIN, f"https://{HOST}")], "https", 200),
    ("no header, another origin", "POST", [AT_HOME, (ORIGIN, "https://attacker.example")], "https", 403),
    ("no header, null origin", "POST", [AT_HOME, (ORIGIN, "null")], "https", 403),
    ("GET from anywhere", "GET", [AT_HOME, (SITE, "cross-site")], "https", 405),  # Go lets safe methods pass
    ("HEAD from anywhere", "HEAD", [AT_HOME, (SITE, "cross-site")], "https", 405),
    ("OPTIONS from anywhere", "OPTIONS", [AT_HOME, (SITE, "cross-site")], "https", 405),
    ("PUT from another site", "PUT", [AT_HOME, (SITE, "cross-site")], "https", 405),
    ("DELETE from another site", "DELETE", [AT_HOME, (SITE, "cross-site")], "https", 403),
    ("unknown site", "POST", [AT_HOME, (SITE, "unknown")], "https", 403),
]
# name, headers, status
ODD: list[tuple[str, Headers, int]] = [
    ("IDNA, as browsers write it", [("host", BOOKS), (ORIGIN, f"https://{BOOKS}")], 200),
    ("IDNA in capitals", [("host", BOOKS.upper()), (ORIGIN, f"https://{BOOKS}")], 200),
    ("IDNA as UTF-8", [("host", BOOKS), (ORIGIN, "https://b\xc3\xbccher.example")], 403),
    ("both as UTF-8", [("host", "b\xc3\xbccher.example"), (ORIGIN, "https://b\xc3\xbccher.example")], 403),
    ("IDNA in percents", [("host", BOOKS), (ORIGIN, "https://b%C3%BCcher.example")], 403),
    ("a letter like ours", [AT_HOME, (ORIGIN, "https://sh\xf8p.example")], 403),
    ("the Kelvin sign for k", [("host", "kiosk.example"), (ORIGIN, "https://\xe2\x84\xaaiosk.example")], 403),
    ("a full-width dot", [AT_HOME, (ORIGIN, "https://shop\xef\xbc\x8eexample")], 403),
    ("empty port", [AT_HOME, (ORIGIN, f"https://{HOST}:")], 200),
    ("port with zeros", [("host", f"{HOST}:8443"), (ORIGIN, f"https://{HOST}:08443")], 200),
    ("port with a sign", [("host", f"{HOST}:8443"), (ORIGIN, f"https://{HOST}:+8443")], 403),
    ("port with an underscore", [("host", f"{HOST}:8443"), (ORIGIN, f"https://{HOST}:8_443")], 403),
    ("two ports", [AT_HOME, (ORIGIN, f"https://{HOST}:443:443")], 403),
    ("IPv6, default port", [("host", "[::1]"), (ORIGIN, "https://[::1]:443")], 200),
    ("IPv6, written otherwise", [("host", "[::1]"), (ORIGIN, "https://[0:0:0:0:0:0:0:1]")], 403),
    ("IPv4 within IPv6", [("host", "127.0.0.1"), (ORIGIN, "https://[::ffff:127.0.0.1]")], 403),
    ("IPv4 as a number", [("host", "127.0.0.1"), (ORIGIN, "https://2130706433")], 403),
    ("two trailing dots", [("host", f"{HOST}."), (ORIGIN, f"https://{HOST}..")], 403),
    ("a backslash", [AT_HOME, (ORIGIN, f"https://{HOST}\\@attacker.example")], 403),
    ("a backslash the other way", [AT_HOME, (ORIGIN, f"https://attacker.example\\@{HOST}")], 403),
    ("nothing but an @", [AT_HOME, (ORIGIN, f"https://@{HOST}")], 403),
    ("two origins in one", [AT_HOME, (ORIGIN, f"https://{HOST} https://attacker.example")], 403),
    ("a scheme of two", [AT_HOME, (ORIGIN, f"https:https://{HOST}")], 403),
    ("a web socket's scheme", [AT_HOME, (ORIGIN, f"wss://{HOST}")], 403),
    ("about:blank", [AT_HOME, (ORIGIN, "about:blank")], 403),
    ("site in capitals, null origin", [AT_HOME, (SITE, "SAME-ORIGIN"), (ORIGIN, "null")], 403),
    ("site with a blank", [AT_HOME, (SITE, " same-origin"), (ORIGIN, f"https://{HOST}")], 403),
    ("site as a list", [AT_HOME, (SITE, "cross-site,same-origin")], 403),
    ("site twice, ours last", [AT_HOME, (SITE, "cross-site"), (SITE, "same-origin")], 403),
    ("http page of our name", [AT_HOME, (ORIGIN, f"http://{HOST}")], 403),
    ("our origin without its scheme", [AT_HOME, (ORIGIN, HOST)], 403),
]


def is_plain(headers: Headers) -> bool:
    return any(name == ORIGIN and value.startswith("http://") for name, value in headers)


ROWS = [
    *GO,
    *((name, "POST", headers, "https", status) for name, headers, status in ODD),
    # Without dev=True a page that came over plain http is refused as well.
    *((n, "POST", sent, scheme, 200 if ours and not is_plain(sent) else 403) for n, sent, scheme, ours in ORIGINS),
]


def report(shell: ShellKind, application: Any, method: str, headers: Headers, scheme: str = "https") -> Reply:
    """A request for the capture path by somebody in whose browser Ada is logged in."""
    return shell.call(application, Call(method, "/_reve/session", [*headers, *OF_THE_BRIDGE], REPORT, scheme=scheme))


@pytest.mark.parametrize(
    ("method", "headers", "scheme", "status"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_who_may_report_a_chat(shell: ShellKind, method: str, headers: Headers, scheme: str, status: int) -> None:
    """A report that is not of our own origin sets no cookie and pushes nothing, and the application is not asked."""
    shop = Shop()
    visitor = shop.visitor(shell)
    reply = report(shell, visitor.middleware, method, headers, scheme)
    assert reply.status == status
    assert len(reply.values("set-cookie")) == len(visitor.pushed()) * 2 == (2 if status == 200 else 0)
    assert bool(shop.seen) == bool(shop.asked) == (status == 200)
    assert not [name for name, _ in reply.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(("headers", "ours"), [row[1:] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_who_else_may_report_a_chat(shell: ShellKind, headers: Headers, ours: bool) -> None:
    """Of `allowed_origins` it is the same: whole or not at all, and the browser's own word counts more."""
    shop = Shop()
    visitor = shop.visitor(shell, allowed_origins=["https://www.shop.example"])
    reply = report(shell, visitor.middleware, "POST", headers)
    assert reply.status == (200 if ours else 403)
    assert len(reply.values("set-cookie")) == len(visitor.pushed()) * 2 == (2 if ours else 0)
    assert bool(shop.seen) is ours


# A permissive CORS layer outside of ours -----------------------------------------------------------

ATTACKER = "https://attacker.example"
SIBLING = "https://blog.shop.example"
PERMISSIVE = {"access-control-allow-headers", "access-control-allow-methods", "access-control-allow-origin"}


def permissive(shell: ShellKind, middleware: Any) -> Any:
    """CORS as people switch it on when nothing else has helped."""
    if shell.name == "asgi":
        return CORSMiddleware(
            middleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], allow_credentials=True
        )

    def outside(environ: Any, start_response: Any) -> Any:
        origin = environ.get("HTTP_ORIGIN", "*")
        allowed = [
            ("Access-Control-Allow-Origin", origin if origin.isprintable() else "*"),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Allow-Methods", "*"),
            ("Access-Control-Allow-Headers", environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "*")),
        ]
        if environ["REQUEST_METHOD"] == "OPTIONS":
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0"), *allowed])
            return [b""]
        return middleware(environ, lambda status, headers, *error: start_response(status, [*headers, *allowed], *error))

    return outside


FETCHES: dict[str, tuple[str, Headers]] = {
    "fetch, cors": ("POST", [(SITE, "cross-site"), (ORIGIN, ATTACKER), ("sec-fetch-mode", "cors")]),
    "fetch, no-cors": ("POST", [(SITE, "cross-site"), (ORIGIN, ATTACKER), ("sec-fetch-mode", "no-cors")]),
    "a sibling": ("POST", [(SITE, "same-site"), (ORIGIN, SIBLING), ("sec-fetch-mode", "cors")]),
    "another port": ("POST", [(SITE, "same-site"), (ORIGIN, f"https://{HOST}:8443")]),
    "a sandboxed frame": ("POST", [(SITE, "cross-site"), (ORIGIN, "null")]),
    "an old browser": ("POST", [(ORIGIN, ATTACKER)]),
    "an old browser, a sibling": ("POST", [(ORIGIN, SIBLING)]),
    "an old browser, sandboxed": ("POST", [(ORIGIN, "null")]),
    "forgetting": ("DELETE", [(SITE, "cross-site"), (ORIGIN, ATTACKER)]),
    "a form": ("POST", [(SITE, "cross-site"), (ORIGIN, ATTACKER), ("sec-fetch-mode", "navigate")]),
}


@pytest.mark.parametrize("name", FETCHES)
def test_cors_outside_lets_nobody_in(shell: ShellKind, name: str) -> None:
    """Where a layer outside of ours allows every origin everything, it answers the preflight; the report is refused all
    the same, and tells the attacker nothing but that."""
    method, headers = FETCHES[name]
    shop = Shop()
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture("own-chat")
    ours = len(visitor.pushed())
    application = permissive(shell, visitor.middleware)
    asks = [AT_HOME, *headers, ("access-control-request-method", method)]
    asks += [("access-control-request-headers", "content-type,x-reve-bridge")]
    preflight = shell.call(application, Call("OPTIONS", "/_reve/session", asks))
    assert preflight.status == 200
    assert set(dict(preflight.headers)) >= PERMISSIVE

    seen = len(shop.seen)
    jar = "; ".join(f"{name}={value}" for name, value in visitor.jar.items())
    sent = [AT_HOME, *headers, ("x-reve-bridge", "1"), ("content-type", "application/json"), ("cookie", jar)]
    reply = shell.call(application, Call(method, "/_reve/session", sent, REPORT))
    assert reply.status == 403
    assert reply.json["detail"] == "The request must come from a page of the same origin."
    assert reply.values("set-cookie") == []
    assert len(visitor.pushed()) == ours
    assert len(shop.seen) == seen
    assert visitor.get("/").values("set-cookie") == []


def test_cors_inside_is_not_asked(shell: ShellKind) -> None:
    """A CORS layer inside of ours is not asked about the capture path: a preflight is a 405 without a word of CORS."""
    asked: list[Asked] = []

    def app(request: Asked) -> Any:
        asked.append(request)
        yield Start(200, [("Access-Control-Allow-Origin", "*"), ("Content-Type", "text/plain")])
        yield Last(b"")

    middleware = shell.wrap(shell.application(app), profile=lambda request: {"id": 1})
    headers = [AT_HOME, (ORIGIN, ATTACKER), ("access-control-request-method", "POST")]
    reply = shell.call(middleware, Call("OPTIONS", "/_reve/session", headers))
    assert (reply.status, reply.header("allow")) == (405, "POST, DELETE")
    assert {name for name, _ in reply.headers} == {
        "allow", "cache-control", "content-length", "content-type", "x-content-type-options",
    }  # fmt: skip
    assert asked == []


# A name with underscores -----------------------------------------------------------------------------

# What such a server hands on of `Sec_Fetch_Site: same-origin`, which a script may send, and the browser's own header.
TAKEN: dict[str, tuple[str, Headers, int]] = {
    "instead of cross-site": (SITE, [(ORIGIN, ATTACKER)], 403),
    "instead of same-site": (SITE, [(ORIGIN, SIBLING)], 403),
    "of a sandboxed frame": (SITE, [(ORIGIN, "null")], 403),
    "without an origin": (SITE, [], 403),
    "the browser's own": (SITE, [(ORIGIN, f"https://{HOST}")], 200),
    "the browser's own, an allowed page": (SITE, [(ORIGIN, "https://www.shop.example")], 200),
}


@pytest.mark.parametrize(
    "server",
    [{"SERVER_SOFTWARE": f"{name}/1.0"} for name in environ.TAKE_UNDERSCORES] + [{"uwsgi.version": b"2"}],
    ids=str,
)
@pytest.mark.parametrize("name", TAKEN)
def test_a_server_that_takes_underscores_for_hyphens(server: dict[str, Any], name: str) -> None:
    """Under a WSGI server that takes `Sec_Fetch_Site`, which any script may send where CORS is open, for
    `Sec-Fetch-Site`, a report is only taken where `Origin` says so too."""
    shell = ShellKind("wsgi")
    try:
        shop = Shop()
        visitor = shop.visitor(shell, allowed_origins=["https://www.shop.example"])
        inside = visitor.middleware
        site, headers, status = TAKEN[name]
        reply = report(
            shell,
            lambda given, start: inside({**given, **server}, start),
            "POST",
            [AT_HOME, (site, "same-origin"), *headers],
        )
        assert reply.status == status
        assert len(visitor.pushed()) == (status == 200)
        assert bool(shop.seen) is (status == 200)
    finally:
        shell.close()
