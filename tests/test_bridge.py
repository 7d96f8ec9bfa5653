"""The script's bytes, URL and tag (contract §2, THREATS T10)."""

import hashlib
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pure import make_settings

import reve_middleware
from reve_middleware import Bot, bridge, script_tag
from reve_middleware.visitor import KEY, Markup, Visit, current_visit

DATA = (Path(reve_middleware.__file__).parent / "bridge.js").read_bytes()
DIGEST = hashlib.sha256(DATA).hexdigest()[:16]
SETTINGS = make_settings()
TAG = f'<script src="/_reve/bridge.js?v={DIGEST}" data-function="identify" data-bot="bot-1"></script>'


def test_the_script_is_the_file_and_named_by_its_hash() -> None:
    """The script is one static file, and its URL carries the hash of its content."""
    assert bridge.script() == (DATA, DIGEST)
    assert bridge.url(SETTINGS, "") == f"/_reve/bridge.js?v={DIGEST}"
    assert bridge.url(make_settings(path="/hidden/x"), "") == f"/hidden/x/bridge.js?v={DIGEST}"


def test_the_current_url_is_cached_for_ever() -> None:
    """Only the URL with the current hash is cached for ever; its answer is the script and nothing about a visitor."""
    assert bridge.serve("GET", b"v=" + DIGEST.encode()) == (
        200,
        [
            (b"content-type", b"text/javascript; charset=utf-8"),
            (b"content-length", str(len(DATA)).encode()),
            (b"cache-control", b"public, max-age=31536000, immutable"),
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ],
        DATA,
    )


@pytest.mark.parametrize(
    "query", ["", "v=", "v=0", f"V={DIGEST}", f"v={DIGEST}&x=1", f"x=1&v={DIGEST}", f"v={DIGEST}0"]
)
def test_another_url_is_served_but_not_kept(query: str) -> None:
    """A URL without the current hash is served too, for pages that are older than the server, but not kept."""
    answer = bridge.serve("GET", query.encode())
    assert (answer.status, answer.body) == (200, DATA)
    assert dict(answer.headers)[b"cache-control"] == b"no-store"


def test_head_has_the_same_headers_and_no_body() -> None:
    """`HEAD` is answered like `GET`, without the body."""
    query = b"v=" + DIGEST.encode()
    assert bridge.serve("HEAD", query) == bridge.serve("GET", query)._replace(body=b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", ""])
def test_the_script_is_only_read(method: str) -> None:
    """Any other method is a 405 that says what is allowed."""
    headers = [(b"allow", b"GET, HEAD"), (b"content-type", b"text/plain"), (b"content-length", b"0")]
    assert bridge.serve(method, b"") == (405, headers, b"")


def test_one_constant_tag() -> None:
    """A page gets one constant tag: the script's URL, the function's name and, with one bot, its id."""
    assert bridge.tag(SETTINGS, "") == TAG
    several = [Bot(webhook_url="https://reve.example/x", token="t", chatbot_id=name) for name in ("one", "two")]
    assert "data-bot" not in bridge.tag(make_settings(bots=several), "")
    account = bridge.tag(make_settings(account_id="1234567", function="hello"), "", "abc")
    assert account == (
        f'<script src="/_reve/bridge.js?v={DIGEST}" data-function="hello" data-bot="bot-1" data-account="1234567" '
        'nonce="abc"></script>'
    )


@pytest.mark.parametrize(
    ("mount", "path"),
    [
        ("/shop", "/shop/_reve/bridge.js"),
        ("/shop/", "/shop/_reve/bridge.js"),
        ("shop", "/shop/_reve/bridge.js"),
        ("/", "/_reve/bridge.js"),
        ("//attacker.example", "/attacker.example/_reve/bridge.js"),
        ("/a b/ü", "/a%20b/%C3%BC/_reve/bridge.js"),
        ("/\\attacker.example", "/%5Cattacker.example/_reve/bridge.js"),
        ('/"><script>', "/%22%3E%3Cscript%3E/_reve/bridge.js"),
        ("/a?b#c", "/a%3Fb%23c/_reve/bridge.js"),
    ],
)
def test_the_mount_stands_before_the_path(mount: str, path: str) -> None:
    """The URL begins with the mount's prefix, quoted, and can name no other host."""
    assert bridge.url(SETTINGS, mount) == f"{path}?v={DIGEST}"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rest = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.rest += data


VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)


@given(VISIBLE, st.text(st.characters(exclude_categories=["Cs"]), max_size=20), VISIBLE)
@effort(max_examples=200, deadline=None)
def test_whatever_the_settings_there_is_one_element(chatbot_id: str, mount: str, nonce: str) -> None:
    """Whatever stands in the settings, the mount and the nonce, the tag is one script element with these values."""
    tag = bridge.tag(make_settings(chatbot_id=chatbot_id), mount, nonce)
    parsed = Tags(f"<head>{tag}<title>")
    assert [name for name, _ in parsed.tags] == ["head", "script", "title"]
    assert parsed.rest == ""
    attributes = parsed.tags[1][1]
    src = attributes.pop("src")
    assert attributes == {"data-function": "identify", "data-bot": chatbot_id, "nonce": nonce}
    parts = urlsplit(src or "")
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", f"v={DIGEST}", "")
    prefix = mount.strip("/")
    assert unquote(parts.path) == f"{'/' + prefix if prefix else ''}/_reve/bridge.js"


# By hand ---------------------------------------------------------------------------------------


class Tagger:
    def tag(self, mount: str, nonce: str | None = None) -> str:
        return bridge.tag(SETTINGS, mount, nonce)


@pytest.mark.parametrize("where", ["scope", "environ", "env", "META"])
def test_script_tag_finds_its_way_from_any_request(where: str) -> None:
    """`script_tag(request)` makes the same tag from any framework's request object, with its mount and a nonce."""
    visit = Visit(Tagger(), "/shop", "/")
    request = SimpleNamespace(**{where: {KEY: visit}})
    assert script_tag(request) == TAG.replace('"/_reve', '"/shop/_reve')
    assert script_tag(request, nonce="abc") == TAG.replace('"/_reve', '"/shop/_reve').replace(
        "></script>", ' nonce="abc"></script>'
    )


def test_script_tag_without_a_request() -> None:
    """In the request's own context no request is needed; where no middleware is outside, there is no tag."""
    token = current_visit.set(Visit(Tagger(), "", "/"))
    try:
        assert script_tag() == script_tag(object()) == TAG
    finally:
        current_visit.reset(token)
    nowhere: list[Any] = [None, object(), SimpleNamespace(scope={}), SimpleNamespace(scope={KEY: "other"}, META=7)]
    for request in nowhere:
        assert script_tag(request) == ""
    assert Visit().tag(None) == ""
    over = Visit(Tagger(), "", "/")
    over.end()
    assert script_tag(SimpleNamespace(scope={KEY: over})) == "", "another site was asked with the same scope"


def test_templates_do_not_escape_it() -> None:
    """Template engines that ask for `__html__` put the tag in as it is."""
    tag = script_tag(SimpleNamespace(scope={KEY: Visit(Tagger(), "", "/")}))
    assert isinstance(tag, Markup)
    assert tag.__html__() == TAG
