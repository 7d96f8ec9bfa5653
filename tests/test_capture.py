"""Capture: same origin or nothing, and nothing but two ids (contract §3, THREATS T1, T7, T12)."""

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pure import make_request, make_settings

from reve_middleware import capture
from reve_middleware.capture import Refusal, is_json, refusal_of_head, refuse
from reve_middleware.messages import Request

SETTINGS = make_settings()
HOST = ("host", "shop.example")
SITE = ("sec-fetch-site", "same-origin")
BRIDGE = ("x-reve-bridge", "1")
JSON = ("content-type", "application/json")
OTHER = ("origin", "https://attacker.example")


TEXT = st.text(st.characters(max_codepoint=255), max_size=30)
NAMES = st.sampled_from(["host", "origin", "sec-fetch-site", "x-reve-bridge", "content-type", "content-length", "x"])
VALUES = TEXT | st.sampled_from(
    [
        "same-origin",
        "null",
        "http://[",
        "https://[::1]:x",
        "shop.example",
        "https://shop.example:\xb2",
        "1",
        "//",
        "[::",
    ]
)


@given(
    method=TEXT | st.sampled_from(["POST", "DELETE"]),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=7),
    scheme=st.sampled_from(["http", "https"]),
    dev=st.booleans(),
)
@effort(max_examples=150, deadline=None)
def test_any_head_is_taken_or_refused(method: str, headers: list[tuple[str, str]], scheme: str, dev: bool) -> None:
    """Whatever a request's head says, it is taken or refused with one of the fixed answers, and never an exception."""
    request = make_request(method, "/_reve/session", *headers, scheme=scheme)
    refusal = refusal_of_head(request, make_settings(dev=dev))
    if refusal is None:
        sites = request.values(b"sec-fetch-site")
        assert sites in ([], [b"same-origin"])
        assert request.values(b"x-reve-bridge") == [b"1"]
        assert method in ("POST", "DELETE")
    else:
        assert refuse(refusal.reason).status in (403, 405, 413, 415)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "post", "delete", ""])
def test_post_and_delete_alone(method: str) -> None:
    """Every method but POST and DELETE is a 405, whoever asks: `OPTIONS` too, and nothing of CORS is answered."""
    for headers in ([HOST, SITE, BRIDGE, JSON], [HOST, OTHER, ("access-control-request-method", "POST")]):
        assert refusal_of_head(make_request(method, "/", *headers), SETTINGS) == Refusal("method")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-reve-bridge", "")],
        [("x-reve-bridge", "2")],
        [("x-reve-bridge", "1, 1")],
        [BRIDGE, BRIDGE],
        [("x-reve-bridge", " 1")],
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_the_bridges_own_header_is_required(method: str, headers: list[tuple[str, str]]) -> None:
    """Without exactly one `X-Reve-Bridge: 1` nothing is taken: a form cannot send it."""
    request = make_request(method, "/", HOST, SITE, JSON, *headers)
    assert refusal_of_head(request, SETTINGS) == Refusal("no_bridge")


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        (b"application/json", True),
        (b"Application/JSON", True),
        (b"application/json;charset=utf-8", True),
        (b'application/json ; Charset="UTF-8"', True),
        (b"application/json;", True),
        (None, False),
        (b"", False),
        (b"text/plain", False),
        (b"application/x-www-form-urlencoded", False),
        (b"multipart/form-data; boundary=x", False),
        (b"application/json; charset=utf-16", False),
        (b"application/json; charset=utf-8; x=y", False),
        (b"application/json, text/plain", False),
        (b"application/jsonp", False),
        (b"application/problem+json", False),
        (b"text/plain; application/json", False),
        (b"application/json\xa0", False),
    ],
)
def test_json_alone(content_type: bytes | None, taken: bool) -> None:
    """The body must be declared `application/json`, with no parameter but `charset=utf-8`."""
    assert is_json(content_type) is taken
    headers = [] if content_type is None else [("content-type", content_type.decode("latin-1"))]
    request = make_request("POST", "/", HOST, SITE, BRIDGE, *headers)
    assert refusal_of_head(request, SETTINGS) == (None if taken else Refusal("media_type"))


def test_a_repeated_type_or_an_encoded_body_is_no_json() -> None:
    """Two content types, or any `Content-Encoding`, are a 415."""
    for more in ([JSON, JSON], [JSON, ("content-encoding", "gzip")], [JSON, ("content-encoding", "identity")]):
        request = make_request("POST", "/", HOST, SITE, BRIDGE, *more)
        assert refusal_of_head(request, SETTINGS) == Refusal("media_type")


def test_delete_needs_no_type() -> None:
    """`DELETE` has no body, so it needs neither a type nor a length."""
    assert refusal_of_head(make_request("DELETE", "/", HOST, SITE, BRIDGE), SETTINGS) is None


@pytest.mark.parametrize(
    ("length", "refused"),
    [
        ("2048", False),
        ("2049", True),
        ("999999999", True),
        ("9" * 5000, True),
        ("0", False),
        ("-1", False),
        ("2_049", False),
        ("\xb2\xb2\xb2\xb2", False),
        ("x", False),
        ("", False),
    ],
)
def test_a_declared_length_over_the_limit_is_refused_unread(length: str, refused: bool) -> None:
    """More than 2,048 declared bytes are a 413 before a byte is read; a length that is no number decides nothing."""
    request = make_request("POST", "/", HOST, SITE, BRIDGE, JSON, ("content-length", length))
    assert refusal_of_head(request, SETTINGS) == (Refusal("too_large") if refused else None)


REFUSALS = {
    "bad_request": (400, "Bad Request", "The body must be one JSON object without repeated keys."),
    "cross_origin": (403, "Forbidden", "The request must come from a page of the same origin."),
    "no_bridge": (403, "Forbidden", "The request must come from the bridge script."),
    "plain_http": (403, "Forbidden", "The page must be loaded over https."),
    "method": (405, "Method Not Allowed", "Use POST, or DELETE to forget."),
    "timeout": (408, "Request Timeout", "The body did not arrive in time."),
    "too_large": (413, "Content Too Large", "The body may have at most 2048 bytes."),
    "media_type": (415, "Unsupported Media Type", "The body must be application/json, not encoded."),
    "ids": (422, "Unprocessable Content", "session_id or chatbot_id is missing or malformed."),
    "bot": (422, "Unprocessable Content", "chatbot_id is not one of the bots that are configured here."),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_each_refusal_is_one_fixed_problem(reason: str) -> None:
    """A refusal is `application/problem+json` with a fixed text, not to be stored, and sets no cookie; a 405 says
    what is allowed."""
    status, title, detail = REFUSALS[reason]
    body = f'{{"type": "about:blank", "title": "{title}", "status": {status}, "detail": "{detail}"}}'.encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 405:
        headers.append((b"allow", b"POST, DELETE"))
    assert refuse(reason) == (status, headers, body)


def test_every_reason_has_its_problem() -> None:
    """There are no other refusals, and each fault of a body is one of them."""
    assert capture.PROBLEMS == REFUSALS
    assert capture.BODY_FAULTS == {400: "bad_request", 408: "timeout", 413: "too_large"}
    assert (capture.LARGEST_BODY, capture.READ_SECONDS, capture.LOOK_UP_SECONDS) == (2048, 5.0, 5.0)


def test_an_answer_says_one_word_and_is_not_stored() -> None:
    """An answer is `{"status": …}`, not to be stored, with the cookies it sets in order."""
    assert capture.answer("queued", [b"a=1", b"b=2"]) == (
        200,
        [
            (b"content-type", b"application/json"),
            (b"content-length", b"20"),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
        ],
        b'{"status": "queued"}',
    )


def test_header_names_are_found_in_any_case_and_repeats_are_seen() -> None:
    """A header is found whatever the case of its name; one that must not be repeated counts as absent where it is."""
    request = Request("GET", "/", "", "https", [(b"Host", b"a"), (b"x-twice", b"1"), (b"X-Twice", b"2")])
    assert request.one(b"host") == b"a"
    assert request.values(b"x-twice") == [b"1", b"2"]
    assert request.one(b"x-twice") is None
    assert request.one(b"absent") is None
