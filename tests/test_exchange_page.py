"""One request and its response, in the order of the flow: pages (contract §2, §6; THREATS T11)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pure import Played, make_ids, make_request, make_settings, respond, visiting

from reve_middleware import bridge
from reve_middleware.exchange import Outgoing, origins_of
from reve_middleware.messages import Headers, Note

ADA = {"id": "ada"}
SETTINGS = make_settings()
HTML = (b"content-type", b"text/html")
TAG = bridge.tag(SETTINGS, "").encode()
WITH_CHAT = ("cookie", SETTINGS.cookies.write_ids(make_ids()).decode().partition(";")[0])

# Routes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "enabled"),
    [
        ({}, True),
        ({"routes": ["/shop/*"], "path": "/shop/x"}, True),
        ({"routes": ["/shop/*"], "path": "/"}, False),
        ({"exclude": ["/"], "path": "/"}, False),
        ({"routes": ["/shop/*"], "path": "/", "visit": visiting(enabled=True)}, True),
        ({"visit": visiting(enabled=False)}, False),
    ],
)
def test_only_enabled_routes_are_looked_at(keywords: dict[str, Any], enabled: bool) -> None:
    """On a route that is not enabled nobody is asked and no page is touched; the view's word overrules the globs."""
    played = respond(WITH_CHAT, headers=[HTML], profile=None, **keywords)
    assert played.asked() == (["profile"] if enabled else [])
    assert (played.returned.tag is not None) is enabled


# Pages -----------------------------------------------------------------------------------------


def test_a_page_gets_the_tag() -> None:
    """A page gets the one constant tag, whoever the visitor is; its headers are not touched for it."""
    headers: Headers = [HTML]
    assert respond(headers=headers).returned.tag == TAG
    assert respond(headers=headers).returned.headers is headers
    assert respond(WITH_CHAT, headers=headers, profile=ADA).returned.tag == TAG
    assert respond(headers=headers, mount="/shop").returned.tag == TAG.replace(b'"/_reve', b'"/shop/_reve')


def test_inject_false_touches_no_page() -> None:
    """With `inject=False` no page is touched, and nothing is warned about."""
    for headers in ([HTML], [HTML, (b"content-encoding", b"gzip")]):
        assert respond(headers=headers, inject=False) == Played([], Outgoing(headers, None))


def test_a_compressed_page_is_told() -> None:
    """A page that is compressed already is passed on, with one note; another reason is no news."""
    played = respond(headers=[HTML, (b"content-encoding", b"br")])
    assert (played.verbs, played.returned.tag) == ([Note("encoded")], None)
    assert respond(headers=[HTML, (b"content-disposition", b"attachment")]).verbs == []
    assert respond(headers=[(b"content-type", b"text/css"), (b"content-encoding", b"br")]).verbs == []


CSP = b"Content-Security-Policy"


@pytest.mark.parametrize(
    ("headers", "tag", "advice"),
    [
        ([(CSP, b"script-src 'self'")], TAG, None),
        ([(CSP, b"script-src 'nonce-abc'")], TAG.replace(b"></", b' nonce="abc"></'), None),
        ([(CSP, b"default-src 'none'")], None, "script-src 'self', or a nonce; and connect-src 'self'"),
        ([(CSP, b"script-src cdn.example")], None, "script-src 'self', or a nonce"),
        ([(CSP, b"script-src 'self'"), (CSP.lower(), b"script-src 'none'")], None, "script-src 'self', or a nonce"),
        ([(b"Content-Security-Policy-Report-Only", b"default-src 'none'")], TAG, None),
        ([(b"content-security-policy-report-only", b"script-src 'nonce-abc'")], TAG, None),
        ([(CSP, b"script-src https://shop.example/_reve/bridge.js; connect-src https://shop.example/_reve/session")],
         TAG, None),
        ([(CSP, b"script-src \xff")], None, "script-src 'self', or a nonce"),
    ],
)  # fmt: skip
def test_a_pages_own_policy_decides(headers: Headers, tag: bytes | None, advice: str | None) -> None:
    """The page's own enforced policy decides: its nonce is used, a page that allows neither is not touched and told
    about; a policy that only reports counts for nothing, and no policy is ever changed."""
    whole = [HTML, *headers]
    played = respond(("host", "shop.example"), headers=whole)
    assert (played.returned.headers, played.returned.tag) == ([HTML, *headers], tag)
    assert played.returned.headers is whole
    assert played.notes() == ([] if advice is None else [("policy", advice)])


def test_a_page_behind_a_proxy_that_ends_tls() -> None:
    """Reached by http, the page may have been loaded by https: a policy for either origin allows the script."""
    policy = [HTML, (CSP, b"script-src https://shop.example")]
    assert respond(("host", "shop.example"), headers=policy, scheme="http").returned.tag == TAG
    assert origins_of(make_request("GET", "/", ("host", "a:1"), scheme="http")) == ["http://a:1", "https://a:1"]
    assert origins_of(make_request("GET", "/", ("host", "a:1"))) == ["https://a:1"]
    assert origins_of(make_request()) == ["https://"]


def test_the_policys_paths_have_the_mount_in_them() -> None:
    """Inside a mount, the policy is asked about the URLs that the browser will use."""
    policy = [HTML, (CSP, b"script-src shop.example/shop/_reve/; connect-src shop.example/shop/_reve/session")]
    host = ("host", "shop.example")
    assert respond(host, headers=policy, mount="/shop").returned.tag is not None
    assert respond(host, headers=policy).returned.tag is None


@given(
    st.lists(
        st.tuples(st.sampled_from([b"content-type", b"content-security-policy", b"etag"]), st.binary(max_size=40))
    ),
    st.text(st.characters(max_codepoint=255), max_size=20),
)
@effort(max_examples=200, deadline=None)
def test_any_head_goes_through(headers: Headers, host: str) -> None:
    """Whatever stands in a response's headers and in the client's `Host`, the flow comes to its end."""
    whole = [HTML, *headers[:3]]
    assert respond(("host", host), WITH_CHAT, headers=whole, profile=None).returned.headers is whole
