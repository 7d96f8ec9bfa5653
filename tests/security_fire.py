"""Fires at the capture endpoint: any body, any headers, any chunks, through both shells, and judges each answer.

Every answer must be one of the fixed ones, to the last byte: then nothing of the request is in it. No exception may
reach the server, nor the place where a fault of ours is kept from the visitor. The suite fires a few hundred times, the
program tests/benchmarks/security.py thousands of times.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any, NamedTuple

from drive import HOST, PAGE, Call, ShellKind, environ_of, page, scope_of
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from oracle import Sent
from servers import Server
from test_capture import REFUSALS

from reve_middleware.notes import Notes

Pair = tuple[bytes, bytes]
GOOD_HEAD = [
    (b"host", HOST.encode()),
    (b"sec-fetch-site", b"same-origin"),
    (b"x-reve-bridge", b"1"),
    (b"content-type", b"application/json"),
    (b"cookie", b"user=ada"),
]
GOOD_BODY = b'{"session_id": "s-1", "chatbot_id": "bot"}'
ANSWERS = {
    (200, b'{"status": "%b"}' % word.encode())
    for word in ("queued", "current", "anonymous", "declined", "busy", "forgotten")
} | {
    (
        status,
        json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode(),
    )
    for status, title, detail in REFUSALS.values()
}
HEAD_ANSWER = (405, b"")
FIXED_HEADERS = {"content-type", "content-length", "cache-control", "x-content-type-options", "allow", "set-cookie"}
OUR_COOKIE = re.compile(
    r"__Host-reve(-mark)?=([A-Za-z0-9_.-]+; Max-Age=43200|; Max-Age=0); Path=/; HttpOnly; SameSite=Lax; Secure"
)


class Shot(NamedTuple):
    """One request, and how its body comes."""

    method: str = "POST"
    headers: list[Pair] = GOOD_HEAD
    body: bytes = GOOD_BODY
    scheme: str = "https"
    cuts: list[int] = []  # noqa: RUF012  # never changed
    """Where the body is cut into pieces."""
    quirk: str = ""
    """What is odd about the way it comes; see QUIRKS."""
    length: str | None = None
    """WSGI's CONTENT_LENGTH; None: the body's."""
    path: str = "/_reve/session"


QUIRKS = ("", "", "", "breaks off", "breaks off at once", "says less", "empty pieces", "marked end", "fails", "short")


# Strategies ------------------------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
IDS = st.sampled_from(["s-1", "bot", "x" * 128, "x" * 129, "", "https://attacker.example"]) | JSON_VALUES
BODIES = (
    st.just(GOOD_BODY)
    | st.binary(max_size=2100)
    | st.builds(lambda one, two: json.dumps({"session_id": one, "chatbot_id": two}).encode(), IDS, IDS)
    | st.builds(lambda at, new: GOOD_BODY[:at] + new + GOOD_BODY[at:], st.integers(0, 42), st.binary(max_size=9))
    | st.builds(lambda size, what: what * size, st.integers(0, 2100), st.sampled_from([b"[", b'{"":', b"9", b" "]))
)
NAMES = st.sampled_from(
    [b"host", b"origin", b"sec-fetch-site", b"x-reve-bridge", b"content-type", b"content-length", b"content-encoding",
     b"cookie", b"transfer-encoding", b"expect", b"sec-fetch-dest", b"x-forwarded-host", b"x"]
) | st.from_regex(rb"[!#$%&'*+.^_`|~0-9a-z-]{1,20}", fullmatch=True)  # fmt: skip
VALUES = st.sampled_from(
    [b"same-origin", b"cross-site", b"null", b"1", b"https://shop.example", b"http://shop.example", b"shop.example",
     b"https://[::1]:x", b"application/json; charset=utf-8", b"gzip", b"2049", b"-1", b"9" * 5000,
     b"__Host-reve=x; __Host-reve-mark=y", b"user=ada"]
) | st.binary(max_size=40).map(lambda value: re.sub(rb"[\r\n\0]", b"", value))  # fmt: skip
CHANGES = st.tuples(st.sampled_from(["add", "replace", "drop", "double"]), NAMES, VALUES, st.integers(0, 4))


def changed(changes: list[tuple[str, bytes, bytes, int]]) -> list[Pair]:
    """The good head, spoiled."""
    headers = list(GOOD_HEAD)
    for how, name, value, at in changes:
        at = min(at, len(headers) - 1)
        if how == "add" or at < 0:
            headers.insert(max(at, 0), (name, value))
        elif how == "replace":
            headers[at] = (headers[at][0], value)
        elif how == "drop":
            del headers[at]
        else:
            headers.append((headers[at][0], value))
    return headers


SOUP = st.lists(
    st.sampled_from([b"__Host-reve", b"__Host-reve-mark", b"=", b";", b" ", b"\t", b"; ", b"user=ada", b".", b"bQ"])
    | st.binary(max_size=5).map(lambda value: re.sub(rb"[\r\n\0]", b"", value)),
    max_size=12,
).map(b"".join)
METHODS = st.sampled_from(["POST"] * 6 + ["DELETE"] * 3 + ["GET", "HEAD", "OPTIONS", "PUT", "TRACE", "BREW"])
HEADS = st.lists(CHANGES, max_size=3).map(changed)
LENGTHS = st.none() | st.sampled_from(
    ["", "0", "-1", "41", "43", "2048", "2049", "9" * 5000, "4_2", "\xb2", " 42", "x"]
)
SCHEMES = st.sampled_from(["https", "https", "http"])
CUTS = st.lists(st.integers(0, 2100), max_size=6)
STRATEGIES: dict[str, st.SearchStrategy[Shot]] = {
    "bytes": BODIES.map(lambda body: Shot(body=body)),
    "headers": st.tuples(METHODS, HEADS, st.just(GOOD_BODY) | BODIES, SCHEMES).map(lambda drawn: Shot(*drawn)),
    "chunking": st.tuples(st.just(GOOD_HEAD) | HEADS, BODIES, CUTS, st.sampled_from(QUIRKS), LENGTHS).map(
        lambda drawn: Shot("POST", drawn[0], drawn[1], "https", *drawn[2:])
    ),
    "pages": st.tuples(HEADS, st.lists(SOUP, max_size=3), SCHEMES).map(
        lambda drawn: Shot("GET", [*drawn[0], *((b"cookie", one) for one in drawn[1])], b"", drawn[2], path="/")
    ),
}
"""The first three are reports; the last are ordinary pages, with whatever may be taken for cookies of ours."""


# Both shells -----------------------------------------------------------------------------------------


class Faults(Notes):
    """Keeps what would be logged as a fault of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[BaseException] = []

    def fault(self, error: BaseException) -> None:
        self.seen.append(error)


class Target:
    """A site with our layer, which takes shots."""

    def __init__(self, name: str) -> None:
        self.shell = ShellKind(name)
        keywords = {"profile": profile, "handoff": take_at_once if name == "asgi" else take}
        self.middleware = self.shell.site(page(), **keywords).middleware
        self.faults = self.middleware._notes = Faults()
        self._loop = asyncio.new_event_loop() if name == "asgi" else None

    def close(self) -> None:
        self.shell.close()
        if self._loop is not None:
            self._loop.close()

    def shoot(self, shot: Shot) -> int:
        """The status of the answer, which has been judged."""
        if self._loop is not None:
            reply = self._loop.run_until_complete(shoot_asgi(self.middleware, shot))
        else:
            reply = shoot_wsgi(self.middleware, shot)
        assert self.faults.seen == []
        (judge if shot.path != "/" else judge_page)(shot, *reply)
        return reply[0]


def profile(request: Any) -> Any:
    return {"id": 1} if "user=ada" in request.headers.get("cookie", "") else None


def take(push: Any) -> None:
    """A task queue, so that no thread of ours runs beside."""


async def take_at_once(push: Any) -> None:
    """The same, without a thread."""


def pieces(shot: Shot) -> list[bytes]:
    at = sorted({min(cut, len(shot.body)) for cut in shot.cuts})
    return [shot.body[begin:end] for begin, end in zip([0, *at], [*at, len(shot.body)], strict=True)]


async def shoot_asgi(app: Any, shot: Shot) -> tuple[int, list[tuple[str, str]], bytes]:
    scope = scope_of(Call(shot.method, shot.path, scheme=shot.scheme))
    scope["headers"] = list(shot.headers)
    messages: list[Any] = [{"type": "http.request", "body": body, "more_body": True} for body in pieces(shot)]
    if shot.quirk == "empty pieces":
        messages = [one for body in messages for one in (body, *[{"type": "http.request", "more_body": True}] * 9)]
    messages[-1] = {key: value for key, value in messages[-1].items() if key != "more_body"}
    if shot.quirk == "breaks off":
        messages.pop()
    elif shot.quirk == "breaks off at once":
        messages.clear()
    messages.reverse()
    sent = Sent(scope)

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.take(message)

    await app(scope, receive, send)
    sent.close(whole=True)
    start, *bodies = sent.messages
    headers = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
    return start["status"], headers, b"".join(one["body"] for one in bodies)


class Input:
    """A server's `wsgi.input`, odd as the shot says."""

    def __init__(self, shot: Shot) -> None:
        self._quirk = shot.quirk
        self._data = pieces(shot)[0] if shot.quirk in ("breaks off", "short") else shot.body
        if shot.quirk == "breaks off at once":
            self._data = b""

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "to the end may be for ever"
        if self._quirk == "fails":
            raise OSError("the client went away")
        found, self._data = self._data[:size], self._data[size:]
        return found


def shoot_wsgi(app: Any, shot: Shot) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in shot.headers]
    environ = environ_of(Call(shot.method, shot.path, headers, shot.body, scheme=shot.scheme))
    environ["wsgi.input"] = Input(shot)
    if shot.length is not None:
        environ["CONTENT_LENGTH"] = shot.length
    elif shot.quirk == "says less":
        environ["CONTENT_LENGTH"] = str(len(shot.body) // 2)
    elif shot.quirk == "marked end":
        environ.pop("CONTENT_LENGTH", None)
        environ["wsgi.input_terminated"] = True
    server = Server()
    server.run(app, environ)
    reply = server.reply(None, shot.method)
    return reply.status, reply.headers, reply.body


def judge(shot: Shot, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Only a fixed answer will do."""
    assert (status, body) in ANSWERS or (shot.method == "HEAD" and (status, body) == HEAD_ANSWER)
    names = [name for name, _ in headers]
    assert set(names) <= FIXED_HEADERS
    assert [name for name in names if names.count(name) > 1 and name != "set-cookie"] == []
    said = dict(headers)
    assert said["content-type"] == ("application/json" if status == 200 else "application/problem+json")
    assert (said["cache-control"], said["x-content-type-options"]) == ("no-store", "nosniff")
    assert said.get("allow") == ("POST, DELETE" if status == 405 else None)
    cookies = [value for name, value in headers if name == "set-cookie"]
    assert all(OUR_COOKIE.fullmatch(value) for value in cookies)
    assert status == 200 or not cookies


def judge_page(shot: Shot, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """The application's own page, with our tag or without: nobody's chat is known."""
    assert status == 200
    assert re.sub(rb"<script [^>]*></script>", b"", body) == PAGE
    assert [name for name, _ in headers] == ["content-type"]


def fire(target: Target, what: str, examples: int) -> Counter[int]:
    """So many shots of one kind; how often each status came."""
    seen: Counter[int] = Counter()

    @effort(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(STRATEGIES[what])
    def shoot(shot: Shot) -> None:
        seen[target.shoot(shot)] += 1

    shoot()
    return seen
