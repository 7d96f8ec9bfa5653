"""The origin rule of capture, as one table (contract §3, THREATS T1)."""

import pytest
from pure import make_request, make_settings

from reve_middleware import capture
from reve_middleware.capture import Refusal, refusal_of_head

SETTINGS = make_settings()
HOST = ("host", "shop.example")
SITE = ("sec-fetch-site", "same-origin")
BRIDGE = ("x-reve-bridge", "1")
JSON = ("content-type", "application/json")


def origin(value: str) -> tuple[str, str]:
    return ("origin", value)


def host(value: str) -> tuple[str, str]:
    return ("host", value)


def site(value: str) -> tuple[str, str]:
    return ("sec-fetch-site", value)


OURS = origin("https://shop.example")
OTHER = origin("https://attacker.example")

# name, headers, scheme by which we are reached, ours?
ORIGINS: list[tuple[str, list[tuple[str, str]], str, bool]] = [
    # The cases of Go's CrossOriginProtection, with our stricter answers.
    ("same-origin", [HOST, site("same-origin")], "https", True),
    ("none (typed, bookmarked)", [HOST, site("none")], "https", False),
    ("cross-site", [HOST, site("cross-site")], "https", False),
    ("same-site", [HOST, site("same-site")], "https", False),
    ("neither header", [HOST], "https", False),
    ("origin matches", [HOST, OURS], "https", True),
    ("origin does not match", [HOST, OTHER], "https", False),
    ("null origin", [HOST, origin("null")], "https", False),
    ("cross-site with our origin", [HOST, site("cross-site"), OURS], "https", False),
    ("same-origin with another origin", [HOST, site("same-origin"), OTHER], "https", True),
    # A sandboxed frame is never same-origin; a page under `Referrer-Policy: no-referrer` may be.
    ("same-origin with null origin", [HOST, site("same-origin"), origin("null")], "https", True),
    ("same-site with our origin", [HOST, site("same-site"), OURS], "https", False),
    ("none with our origin", [HOST, site("none"), OURS], "https", False),
    # What no browser sends counts for nothing.
    ("mixed case site", [HOST, site("Same-Origin"), OURS], "https", False),
    ("empty site", [HOST, site(""), OURS], "https", False),
    ("site twice", [HOST, site("same-origin"), site("same-origin")], "https", False),
    ("site twice, one bad", [HOST, site("same-origin"), site("cross-site")], "https", False),
    ("site joined by a server", [HOST, site("same-origin, same-origin")], "https", False),
    ("origin twice", [HOST, OURS, OURS], "https", False),
    ("origin twice, one bad", [HOST, OURS, OTHER], "https", False),
    ("origin joined by a server", [HOST, origin("https://shop.example, https://shop.example")], "https", False),
    ("host twice", [HOST, HOST, OURS], "https", False),
    ("no host", [OURS], "https", False),
    ("empty host", [host(""), OURS], "https", False),
    ("empty host, empty origin", [host(""), origin("https://")], "https", False),
    ("empty origin", [HOST, origin("")], "https", False),
    # Ports.
    ("default port in host", [host("shop.example:443"), OURS], "https", True),
    ("default port in origin", [HOST, origin("https://shop.example:443")], "https", True),
    ("the other default port", [host("shop.example:80"), OURS], "https", False),
    ("same port", [host("shop.example:8443"), origin("https://shop.example:8443")], "https", True),
    ("another port", [host("shop.example:8443"), origin("https://shop.example:9443")], "https", False),
    ("port only in origin", [HOST, origin("https://shop.example:8443")], "https", False),
    ("port only in host", [host("shop.example:8443"), OURS], "https", False),
    ("port zero is no default", [HOST, origin("https://shop.example:0")], "https", False),
    ("port too large", [HOST, origin("https://shop.example:65536")], "https", False),
    ("port no number", [HOST, origin("https://shop.example:https")], "https", False),
    # Names.
    ("capitals in host", [host("SHOP.example"), OURS], "https", True),
    ("capitals in scheme", [HOST, origin("HTTPS://shop.example")], "https", False),
    ("sibling", [HOST, origin("https://blog.shop.example")], "https", False),
    ("parent", [host("www.shop.example"), OURS], "https", False),
    ("prefix", [HOST, origin("https://shop.example.attacker.example")], "https", False),
    ("suffix", [HOST, origin("https://attackershop.example")], "https", False),
    ("trailing dot in origin", [HOST, origin("https://shop.example.")], "https", False),
    ("trailing dot in host", [host("shop.example."), OURS], "https", False),
    ("trailing dot in both", [host("shop.example."), origin("https://shop.example.")], "https", True),
    ("our name as user", [HOST, origin("https://shop.example@attacker.example")], "https", False),
    ("a user with our name", [HOST, origin("https://attacker@shop.example")], "https", False),
    ("a user in host", [host("attacker@shop.example"), OURS], "https", False),
    ("path in origin", [HOST, origin("https://shop.example/")], "https", False),
    ("query in origin", [HOST, origin("https://shop.example?x")], "https", False),
    ("fragment in origin", [HOST, origin("https://shop.example#x")], "https", False),
    ("path in host", [host("shop.example/x"), OURS], "https", False),
    ("query in host", [host("shop.example?x"), OURS], "https", False),
    ("fragment in host", [host("shop.example#x"), OURS], "https", False),
    ("tab in origin", [HOST, origin("https://shop\t.example")], "https", False),
    ("blank before origin", [HOST, origin(" https://shop.example")], "https", False),
    ("latin-1 in origin", [HOST, origin("https://sh\xf6p.example")], "https", False),
    ("latin-1 in host", [host("sh\xf6p.example"), OURS], "https", False),
    ("no scheme", [HOST, origin("shop.example")], "https", False),
    ("no scheme but slashes", [HOST, origin("//shop.example")], "https", False),
    ("file", [HOST, origin("file://")], "https", False),
    ("extension", [HOST, origin("chrome-extension://shop.example")], "https", False),
    # IPv6 and IPv4.
    ("IPv6", [host("[::1]:8000"), origin("http://[::1]:8000")], "http", True),
    ("IPv6, another port", [host("[::1]:8000"), origin("http://[::1]:8001")], "http", False),
    ("IPv6, another address", [host("[::1]"), origin("http://[::2]")], "http", False),
    ("IPv6 not closed", [host("[::1"), origin("http://[::1")], "http", False),
    ("IPv4", [host("127.0.0.1:8000"), origin("http://127.0.0.1:8000")], "http", True),
    ("localhost is not 127.0.0.1", [host("127.0.0.1:8000"), origin("http://localhost:8000")], "http", False),
    # Schemes: reached by https, the origin must be https; reached by http, a proxy may have ended TLS.
    ("http origin, reached by https", [HOST, origin("http://shop.example")], "https", False),
    ("http origin, reached by http", [HOST, origin("http://shop.example")], "http", True),
    ("https origin behind a proxy", [HOST, OURS], "http", True),
    ("https origin behind a proxy that keeps the port", [host("shop.example:443"), OURS], "http", True),
    ("https origin behind a proxy with a port of its own", [host("shop.example:8000"), OURS], "http", False),
]


@pytest.mark.parametrize(("headers", "scheme", "ours"), [row[1:] for row in ORIGINS], ids=[row[0] for row in ORIGINS])
def test_same_origin_or_nothing(headers: list[tuple[str, str]], scheme: str, ours: bool) -> None:
    """`Sec-Fetch-Site` must be `same-origin`; where there is none, the host and port of `Origin` must be our own, and
    its scheme https where we are reached by https."""
    request = make_request("POST", "/_reve/session", *headers, BRIDGE, JSON, scheme=scheme)
    assert capture.is_same_origin(request, frozenset()) is ours
    dev = make_settings(dev=True)
    assert refusal_of_head(request, dev) == (None if ours else Refusal("cross_origin"))


ALLOWED: list[tuple[str, list[tuple[str, str]], bool]] = [
    ("allowed, no site", [HOST, origin("https://www.shop.example")], True),
    ("allowed, no host", [origin("https://www.shop.example")], True),
    ("allowed, but the browser says cross-site", [HOST, site("cross-site"), origin("https://www.shop.example")], False),
    ("allowed, but the browser says same-site", [HOST, site("same-site"), origin("https://www.shop.example")], False),
    ("not allowed", [HOST, OTHER], False),
    ("port not allowed", [HOST, origin("https://www.shop.example:8443")], False),
    ("scheme not allowed", [HOST, origin("http://www.shop.example")], False),
    ("longer", [HOST, origin("https://www.shop.example.attacker.example")], False),
    ("twice", [HOST, origin("https://www.shop.example"), origin("https://www.shop.example")], False),
    ("own stays allowed", [HOST, OURS], True),
]


@pytest.mark.parametrize(("headers", "ours"), [row[1:] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_allowed_origins_stand_beside_the_own_where_the_browser_says_no_site(
    headers: list[tuple[str, str]], ours: bool
) -> None:
    """`allowed_origins` are compared whole, and never overrule what `Sec-Fetch-Site` says."""
    settings = make_settings(allowed_origins=["https://www.shop.example"])
    request = make_request("POST", "/_reve/session", *headers, BRIDGE, JSON)
    assert refusal_of_head(request, settings) == (None if ours else Refusal("cross_origin"))


PLAIN: list[tuple[str, list[tuple[str, str]], str, bool]] = [
    ("http origin", [origin("http://shop.example")], "http", True),
    ("https origin behind a proxy that ends TLS", [OURS], "http", False),
    ("https origin", [OURS], "https", False),
    ("null origin over http, no site", [origin("null")], "http", True),
    ("null origin behind a proxy: the browser sends a site over TLS", [origin("null"), SITE], "http", False),
    ("no origin over http", [], "http", True),
    ("no origin over https", [], "https", False),
]


@pytest.mark.parametrize(("headers", "scheme", "plain"), [row[1:] for row in PLAIN], ids=[row[0] for row in PLAIN])
def test_the_origin_knows_whether_the_page_came_over_plain_http(
    headers: list[tuple[str, str]], scheme: str, plain: bool
) -> None:
    """Whether a page came over plain http is told by its `Origin`, even behind a proxy that ends TLS."""
    assert capture.came_over_plain_http(make_request("POST", "/", HOST, *headers, scheme=scheme)) is plain


def test_plain_http_is_refused_without_dev() -> None:
    """A report over plain http is refused, unless `dev=True`; another origin's is refused as such."""
    ours = make_request("POST", "/", HOST, origin("http://shop.example"), BRIDGE, JSON, scheme="http")
    other = make_request("POST", "/", HOST, origin("http://attacker.example"), BRIDGE, JSON, scheme="http")
    assert refusal_of_head(ours, SETTINGS) == Refusal("plain_http")
    assert refusal_of_head(ours, make_settings(dev=True)) is None
    assert refusal_of_head(other, SETTINGS) == Refusal("cross_origin")
    listed = make_settings(allowed_origins=["http://attacker.example"])
    assert refusal_of_head(other, listed) == Refusal("plain_http")
