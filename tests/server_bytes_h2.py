"""HTTP/2 without TLS, as scripts for server_bytes_scripts.py: streams on one connection, one by one and all at once.

What comes of a stream is an `Answer` too: its headers as lines, in order; its data as one; its trailers, or the code
of its reset, as the end.
"""

from __future__ import annotations

from typing import Any

import h2.connection
import h2.events
from h2.config import H2Configuration
from raw import Answer, Connection
from server_bytes_answers import HEAD
from server_bytes_scripts import PLAIN, Ask, Play, Script, Seen, Talk, echo, gate, get

WINDOW = 2**24
"""Bytes that a server may send without being asked for more."""
REFUSED = "/not-modified-length"
"""A length without a body, which h2 as a client takes for an error, in a 304 too."""
FRAME = 2**14
"""Bytes in one frame, at most."""
NOTHING = Answer((), b"", (), (b"",), b"", is_whole=False)


class Streams:
    """A client's end of a connection; what has come of each stream."""

    def __init__(self, connection: Connection, lines: tuple[str, ...]) -> None:
        self.answers: dict[int, Answer] = {}
        self.is_alive = False
        self._sock = connection.sock
        self._lines = lines
        config = H2Configuration(client_side=True, header_encoding=None)  # type: ignore[arg-type]
        self._state = h2.connection.H2Connection(config)
        self._state.initiate_connection()
        self._state.update_settings({4: WINDOW})
        self._state.increment_flow_control_window(WINDOW)

    def send(self, ask: Ask) -> int:
        """The number of its stream."""
        number = self._state.get_next_available_stream_id()
        pairs = (line.partition(": ") for line in self._lines + ask.headers)
        lines = [(name.lower(), value) for name, _, value in pairs]
        head = [(":method", ask.method), (":path", ask.path), (":scheme", "http"), (":authority", "shop.example")]
        self._state.send_headers(number, [*head, *lines], end_stream=not ask.body)
        if ask.body:
            for at in range(0, len(ask.body), FRAME):
                self._state.send_data(number, ask.body[at : at + FRAME], end_stream=at + FRAME >= len(ask.body))
        self._sock.sendall(self._state.data_to_send())
        self.answers[number] = NOTHING
        return number

    def reset(self, number: int) -> None:
        self._state.reset_stream(number, 8)
        self._sock.sendall(self._state.data_to_send())

    def until_ended(self) -> None:
        """All streams, those that the server pushed among them."""
        while not all(answer.is_whole for answer in self.answers.values()):
            self.read()

    def until_seen(self, number: int, mark: bytes) -> None:
        while mark not in self.answers[number].body:
            self.read()

    def until_alive(self) -> None:
        """The connection is still one: the server answers a ping."""
        self._state.ping(b"01234567")
        self._sock.sendall(self._state.data_to_send())
        while not self.is_alive:
            self.read()

    def read(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise AssertionError("the server has hung up")
        for event in self._state.receive_data(data):
            self._take(event)
        self._sock.sendall(self._state.data_to_send())

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.InformationalResponseReceived():
                self._change(event, interim=(_lines(event.headers),))
            case h2.events.ResponseReceived():
                self._change(event, head=_lines(event.headers))
            case h2.events.DataReceived():
                self._state.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                self._change(event, chunks=(self.answers[event.stream_id or 0].body + (event.data or b""),))
            case h2.events.TrailersReceived():
                self._change(event, end=_lines(event.headers))
            case h2.events.StreamReset():
                self._change(event, end=b"reset, code %d" % (event.error_code or 0), is_whole=True)
            case h2.events.StreamEnded():
                self._change(event, is_whole=True)
            case h2.events.PushedStreamReceived():
                self.answers[event.pushed_stream_id or 0] = NOTHING._replace(interim=(_lines(event.headers),))
            case h2.events.PingAckReceived():
                self.is_alive = True
            case h2.events.ConnectionTerminated():
                raise AssertionError("the server has ended the connection")

    def _change(self, event: Any, **parts: Any) -> None:
        self.answers[event.stream_id] = self.answers[event.stream_id]._replace(**parts)


def _lines(headers: Any) -> bytes:
    return b"".join(b"%s: %s\r\n" % (name, value) for name, value in headers)


def streams(*asks: Ask, at_once: bool = False) -> Play:
    """A stream for each, on one connection, which is alive when they have ended."""

    def play(talk: Talk) -> list[Seen]:
        with talk.connect() as connection:
            found = Streams(connection, talk.lines)
            for ask in asks:
                found.send(ask)
                if not at_once:
                    found.until_ended()
            found.until_ended()
            found.until_alive()
            answers = dict(sorted(found.answers.items()))
            numbers = (1 + 2 * at for at in range(len(asks)))
            return [
                *(Seen(answers.pop(number), ask) for number, ask in zip(numbers, asks, strict=True)),
                *(Seen(pushed, Ask(unasked=True)) for pushed in answers.values()),
            ]

    return play


def in_time(path: str, first: bytes, *, tagged: bool = False) -> Play:
    """The first piece is here while the application has not yet made the second."""

    def play(talk: Talk) -> list[Seen]:
        with gate() as listener, talk.connect() as connection:
            found = Streams(connection, talk.lines)
            ask = Ask(f"{path}?port={listener.getsockname()[1]}", tagged=tagged)
            number = found.send(ask)
            held, _ = listener.accept()
            found.until_seen(number, first + (talk.tag if tagged else b""))
            held.close()
            found.until_ended()
            return [Seen(found.answers[number], ask)]

    return play


def leaving(talk: Talk) -> list[Seen]:
    """The visitor breaks one stream off; what the application sees of it; the connection lives on."""
    with gate() as listener, talk.connect() as connection:
        found = Streams(connection, talk.lines)
        number = found.send(Ask(f"/leave?port={listener.getsockname()[1]}"))
        held, _ = listener.accept()
        found.until_seen(number, HEAD + talk.tag)
        found.reset(number)
        with Connection(held) as told:
            told.send(b"x")
            seen = told.rest().decode()
        found.until_alive()
        return [Seen(seen)]


MANY = (
    *(get(path) for path in PLAIN if "fails" not in path and path != REFUSED),
    *(get(path, method="HEAD") for path in ("/page", "/streamed", "/none", "/file")),
    *(Ask(path, tagged=True) for path in ("/hints", "/trailers", "/push")),
    *(echo(method, body=b"abc") for method in ("POST", "PUT", "DELETE")),
    echo(), echo(body=b"abcd" * 10000),
    get("/page", "sec-fetch-dest: image")._replace(tagged=False, unasked=True), get("/file")._replace(tagged=False),
    get("/file-page"), Ask("/seen"),
)  # fmt: skip
H2_SCRIPTS = [
    Script("HTTP/2: one by one", streams(*MANY), "h2"),
    Script("HTTP/2: at once", streams(*MANY, at_once=True), "h2"),
    Script("HTTP/2: unread", streams(Ask("/page", "POST", body=b"abc", tagged=True), get("/page")), "h2"),
    Script("HTTP/2: /fails", streams(get("/fails"), get("/page")), "h2"),
    Script("HTTP/2: /events in time", in_time("/events", b"data: 1\n\n"), "h2"),
    Script("HTTP/2: /part-of-events in time", in_time("/part-of-events", b"<p>a part</p>"), "h2"),
    Script("HTTP/2: /page-of-events in time", in_time("/page-of-events", HEAD, tagged=True), "h2"),
    Script("HTTP/2: leaving", leaving, "h2"),
]
