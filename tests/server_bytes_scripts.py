"""What is sent to each server, as scripts: a few requests on one connection, and what is done besides."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NamedTuple, Protocol

from raw import BYTES, PATIENCE, PING, TEXT, Answer, Connection, frame, read_frame
from server_bytes_answers import HEAD, OTHERS, PAGES, WAIT

AGENT = b"User-Agent: tests\r\n"
UPGRADE = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip


class Ask(NamedTuple):
    """A request, and whether its answer is a page that gets the tag."""

    path: str = "/page"
    method: str = "GET"
    headers: tuple[str, ...] = ()
    body: bytes = b""
    version: str = "1.1"
    tagged: bool = False
    unasked: bool = False
    """Does its answer never set a cookie of ours?"""

    def raw(self, more: tuple[str, ...]) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/{self.version}", "Host: shop.example", *more, *self.headers]
        if self.body and not any(line.startswith(("Transfer-", "Content-Length")) for line in self.headers):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


class Seen(NamedTuple):
    """What came of a request, or a word on what else was seen."""

    answer: Answer | str
    ask: Ask = Ask()


class Talk(Protocol):
    """With a server, in one of the ways of the site."""

    tag: bytes
    """In HTML, where the site is wrapped; else nothing."""
    lines: tuple[str, ...]
    """Headers of each request: the way, and the visitor's cookies."""

    def connect(self) -> Connection: ...

    def raw(self, ask: Ask) -> bytes: ...


Play = Callable[[Talk], list[Seen]]


class Script(NamedTuple):
    name: str
    play: Play
    only: str = ""
    """`asgi` or `wsgi`, where it is not for both, or `h2`."""

    @property
    def sees_cookies(self) -> bool:
        """Do its answers say what cookies there were?"""
        return self.name in ("/seen", "HTTP/2: one by one", "HTTP/2: at once")


PROBE = Ask("/json", headers=("Connection: close",))
"""The last request on each connection: is there still one?"""


def get(path: str, *headers: str, version: str = "1.1", method: str = "GET") -> Ask:
    """A request for one of the site's answers."""
    begins = path != "/fails-in-page?style=list"  # it fails before there is a list
    tagged = begins and path.partition("?")[0] not in OTHERS and method != "HEAD"
    return Ask(path, method, headers, version=version, tagged=tagged)


def one_by_one(*asks: Ask) -> Play:
    """Each when the one before is answered; at last the probe. An answer that is empty: the connection is closed."""

    def play(talk: Talk) -> list[Seen]:
        found = []
        with talk.connect() as connection:
            for ask in (*asks, PROBE):
                connection.send(talk.raw(ask))
                answer = connection.answer(ask.method)
                found.append(Seen(answer, ask))
                if not answer.head or not answer.is_whole:
                    break
        return found

    return play


def pipelined(*asks: Ask) -> Play:
    """All at once."""

    def play(talk: Talk) -> list[Seen]:
        with talk.connect() as connection:
            connection.send(b"".join(talk.raw(ask) for ask in (*asks, PROBE)))
            return [Seen(connection.answer(ask.method), ask) for ask in (*asks, PROBE)]

    return play


def in_bits(ask: Ask) -> Play:
    """A request that comes in three pieces."""

    def play(talk: Talk) -> list[Seen]:
        with talk.connect() as connection:
            data = talk.raw(ask)
            for piece in (data[:9], data[9:-5], data[-5:]):
                connection.send(piece)
            return [Seen(connection.answer(ask.method), ask)]

    return play


def expecting(ask: Ask) -> Play:
    """With `Expect: 100-continue`: the body is only sent when the server asks for it."""

    def play(talk: Talk) -> list[Seen]:
        whole = talk.raw(ask)
        head, body = whole[: -len(ask.body)], ask.body
        with talk.connect() as connection:
            connection.send(head)
            asked = connection.see(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
            if asked:
                connection.send(body)
            return [Seen(f"asked: {asked}"), Seen(connection.answer(ask.method), ask)]

    return play


def too_late(ask: Ask) -> Play:
    """The body comes when the answer is already there."""

    def play(talk: Talk) -> list[Seen]:
        with talk.connect() as connection:
            connection.send(talk.raw(ask)[: -len(ask.body)])
            answer = connection.answer(ask.method)
            connection.send(ask.body + talk.raw(PROBE))
            return [Seen(answer, ask), Seen(connection.answer(), PROBE)]

    return play


def gate() -> socket.socket:
    """Where the application says that it waits."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE)
    return listener


def in_time(path: str, first: bytes, *, tagged: bool = False) -> Play:
    """The first piece is here while the application has not yet made the second."""

    def play(talk: Talk) -> list[Seen]:
        with gate() as listener, talk.connect() as connection:
            ask = Ask(f"{path}?port={listener.getsockname()[1]}", tagged=tagged)
            connection.send(talk.raw(ask))
            held, _ = listener.accept()
            connection.see(first + (talk.tag if tagged else b""))
            held.close()
            return [Seen(connection.answer(), ask)]

    return play


def leaving(talk: Talk) -> list[Seen]:
    """The visitor leaves in the middle of a page; what the application sees of it."""
    with gate() as listener:
        with talk.connect() as connection:
            connection.send(talk.raw(Ask(f"/leave?port={listener.getsockname()[1]}")))
            held, _ = listener.accept()
            connection.see(HEAD + talk.tag)
        held.settimeout(PATIENCE)
        with held:
            held.sendall(b"x")
            return [Seen(Connection(held).rest().decode())]


def websocket(path: str) -> Play:
    """A web socket: text, bytes, a ping, and the end; or its refusal."""

    def play(talk: Talk) -> list[Seen]:
        with talk.connect() as connection:
            connection.send(talk.raw(Ask(path, headers=UPGRADE)))
            answer = connection.answer()
            found = [Seen(answer)]
            if answer.status != 101:
                return found
            for sent in (frame(TEXT, b"hello"), frame(BYTES, b"\x00\xff"), frame(PING, b"p"), frame(TEXT, b"end")):
                connection.send(sent)
                found.append(Seen(read_frame(connection).hex()))
            return found

    return play


# The scripts -----------------------------------------------------------------------------------------


def script(name: str, *asks: Ask, only: str = "") -> Script:
    return Script(name, one_by_one(*asks), only)


CLOSE, KEEP = "Connection: close", "Connection: keep-alive"
WAITING = [path for path, made in (PAGES | OTHERS).items() if WAIT in made.steps]
LENGTHS = ["/too-short", "/too-long"]
PLAIN = [path for path in (*PAGES, *OTHERS) if path not in (*WAITING, *LENGTHS)]
MIXED = (
    get("/page"), get("/json"), get("/none"), get("/streamed"), get("/etag"), get("/part"), get("/page", method="HEAD"),
    get("/thirds"), get("/text-streamed"), get("/not-modified"), get("/cookies"), get("/no-bytes"), get("/not-found"),
)  # fmt: skip
CHUNKED = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"


def echo(method: str = "POST", *headers: str, body: bytes = b"", version: str = "1.1") -> Ask:
    return Ask("/echo", method, headers, body, version, tagged=True)


SCRIPTS = [
    *(script(path, get(path)) for path in (*PLAIN, "/fails", "/nowhere", "/a/_reve/session", "/%ff/caf%C3%A9?q=%20")),
    *(script(f"{path}, HTTP/1.0", get(path, version="1.0")) for path in ("/page", "/streamed", "/json", "/part")),
    *(
        script(f"{path}, HTTP/1.0, keep-alive", *[get(path, KEEP, version="1.0")] * 3)
        for path in ("/page", "/streamed", "/thirds", "/json", "/text-streamed", "/none", "/fails")
    ),
    *(script(f"{path}, closed", get(path, CLOSE)) for path in ("/page", "/streamed", "/json", "/none", *LENGTHS)),
    *(
        script(f"HEAD {path}", get(path, method="HEAD"))
        for path in ("/page", "/etag", "/streamed", "/json", "/not-found", "/none", "/not-modified-length", "/file")
    ),
    script("a long connection", *MIXED, *MIXED),
    Script("pipelined", pipelined(*MIXED)),
    Script("pipelined, with a body", pipelined(echo(body=b"one"), get("/page"), echo(body=b"two"), get("/json"))),
    Script("in bits", in_bits(echo(body=b"in bits"))),
    script("fragments", get("/page", "X-Requested-With: x")._replace(tagged=False), get("/page", "HX-Boosted: true")),
    script("a picture", get("/page", "Sec-Fetch-Dest: image")._replace(tagged=False, unasked=True)),
    # Bodies of requests
    script("POST without a body", echo(), echo("POST", "Content-Length: 0")),
    script("POST", echo(body=b"abc"), echo(body=b"abcd" * 40000)),
    script("POST chunked", echo("POST", "Transfer-Encoding: chunked", body=CHUNKED)),
    script("POST, HTTP/1.0", echo(body=b"abc", version="1.0")),
    script("POST to a form that fails", Ask("/fails", "POST", body=b"abc")),
    *(script(f"{method} with a body", echo(method, body=b"abc")) for method in ("PUT", "PATCH", "DELETE", "OPTIONS")),
    *(
        script(f"a body unread: {what}", ask, get("/page"))
        for what, ask in {
            "json": Ask("/json", "POST", body=b"abc"),
            "page": Ask("/page", "POST", body=b"abc", tagged=True),
            "streamed": Ask("/streamed", "POST", body=b"abc", tagged=True),
            "long": Ask("/page", "POST", body=b"abcd" * 10000, tagged=True),
            "chunked": Ask("/json", "POST", ("Transfer-Encoding: chunked",), CHUNKED),
        }.items()
    ),
    Script("a body too late", too_late(Ask("/page", "POST", body=b"abcd" * 1000, tagged=True))),
    Script("100-continue, read", expecting(echo("POST", "Expect: 100-continue", body=b"abc"))),
    Script("100-continue, unread", expecting(Ask("/page", "POST", ("Expect: 100-continue",), b"abc", tagged=True))),
    # What no browser sends
    script("OPTIONS *", Ask("*", "OPTIONS", tagged=True)),
    script("a whole address", Ask("http://shop.example/page", tagged=True)),
    script("two slashes", Ask("//page", tagged=True)),
    script("another method", Ask("/page", "PROPFIND", tagged=True)),
    script("a bad version", get("/page", version="3.7")),
    script("a bad header", get("/json", "bad header")),
    script("a long header", get("/json", "X-Long: " + "x" * 9000)),
    # More than one answer's worth
    script("/file", get("/file")._replace(tagged=False)),
    script("/file-page", get("/file-page")),
    script("/seen", Ask("/seen?a=1", headers=("X-Two: 1", "X-Two: 2", "Accept-Encoding: gzip", "Range: bytes=0-9"))),
    *(script(path, Ask(path, tagged=True), only="asgi") for path in ("/hints", "/trailers", "/push")),
    *(
        script(f"{path}, {style}", get(f"{path}?style={style}"), only="wsgi")
        for style in ("lazy", "list", "write")
        for path in (
            "/page", "/thirds", "/streamed", "/empty-chunks", "/part", "/part-streamed", "/unfinished", "/no-bytes",
            "/cookies", "/fails-in-page", "/fails-before-head", "/fails-after-start", "/fails-in-text",
        )
    ),
    *(script(path, Ask(path, tagged="in" in path), only="wsgi") for path in ("/str", "/str-in-page")),
    script("/twice", Ask("/twice", tagged=True), only="wsgi"),
    script("/twice, streamed", Ask("/twice?streamed", unasked=True), only="wsgi"),
    # What is not over at once
    Script("/events in time", in_time("/events", b"data: 1\n\n")),
    Script("/part-of-events in time", in_time("/part-of-events", b"<p>a part</p>")),
    Script("/page-of-events in time", in_time("/page-of-events", HEAD, tagged=True)),
    Script("leaving", leaving),
    Script("web socket", websocket("/"), "asgi"),
    Script("web socket refused", websocket("/refused"), "asgi"),
    Script("web socket fails", websocket("/fails"), "asgi"),
]  # fmt: skip
