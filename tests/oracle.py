"""What an ASGI server and an ASGI application may expect of each other, written down by us (ASGI 3, HTTP 2.4).

`Sent` watches what goes to a server, `check_scope` and `check_received` what goes to an application. Each
broken rule is an AssertionError that names it.
"""

from collections.abc import Mapping
from typing import Any

START, BODY, TRAILERS = "http.response.start", "http.response.body", "http.response.trailers"
FILES = {"http.response.pathsend": "path", "http.response.zerocopysend": "file"}
BEFORE = ("http.response.early_hint", "http.response.push", "http.response.debug")
WITHOUT_BODY = (204, 304)


def expect(held: bool, rule: str) -> None:
    if not held:
        raise AssertionError(f"ASGI: {rule}")


class Sent:
    """The messages of one response, checked as they come."""

    def __init__(self, scope: Mapping[str, Any], *, lower: bool = True) -> None:
        """`lower=False`: the application itself breaks the rule that header names are in lower case."""
        self.scope = scope
        self.lower = lower
        self.messages: list[Any] = []
        self.started = self.ended = self.closed = False
        self.trailers = False
        self.size = 0

    def take(self, message: Any) -> None:
        expect(not self.closed, "nothing is sent once the application has returned or raised")
        expect(isinstance(message, dict), "a message is a dict")
        expect(isinstance(message.get("type"), str), "a message has a type")
        kind = message["type"]
        if kind == START:
            self._start(message)
        elif kind in BEFORE:
            expect(kind in self.scope.get("extensions", {}), f"{kind} needs its extension")
        else:
            expect(self.started, f"{kind} comes after the start")
            if kind == BODY:
                self._body(message)
            elif kind in FILES:
                expect(not self.ended, "nothing comes after the last body message")
                expect(kind in self.scope.get("extensions", {}), f"{kind} needs its extension")
                expect(FILES[kind] in message, f"{kind} names its {FILES[kind]}")
                self.ended = not message.get("more_body", False)
            else:
                expect(kind == TRAILERS, f"{kind} is no message of a response")
                expect(self.trailers and self.ended, "trailers are announced, and come after the body")
                check_headers(message["headers"], lower=self.lower)
                self.trailers = message.get("more_trailers", False)
        self.messages.append(message)

    def _start(self, message: dict[str, Any]) -> None:
        expect(not self.started, "a response starts once")
        expect(set(message) <= {"type", "status", "headers", "trailers"}, "a start has no unknown keys")
        expect(type(message["status"]) is int and 100 <= message["status"] <= 999, "the status is a number")
        headers = message.get("headers", ())
        expect(isinstance(headers, (list, tuple)), "the headers are a list that may be read twice")
        check_headers(headers, lower=self.lower)
        self.started = True
        self.trailers = message.get("trailers", False)
        self.status = message["status"]
        self.headers = [(bytes(name).lower(), bytes(value)) for name, value in headers]

    def _body(self, message: dict[str, Any]) -> None:
        expect(not self.ended, "nothing comes after the last body message")
        expect(set(message) <= {"type", "body", "more_body"}, "a body message has no unknown keys")
        expect(isinstance(message.get("body", b""), (bytes, bytearray, memoryview)), "a body is bytes")
        expect(isinstance(message.get("more_body", False), bool), "more_body is a bool")
        self.size += len(message.get("body", b""))
        self.ended = not message.get("more_body", False)

    def close(self, *, whole: bool) -> None:
        """The application has returned (`whole`) or raised."""
        self.closed = True
        if not whole:
            return
        expect(self.started and self.ended, "a response is whole when the application returns")
        lengths = [value for name, value in self.headers if name == b"content-length"]
        files = any(message["type"] in FILES for message in self.messages)
        if lengths and self.scope["method"] != "HEAD" and self.status not in WITHOUT_BODY and not files:
            expect([int(value) for value in lengths] == [self.size], "Content-Length is the body's")


def check_headers(headers: Any, *, lower: bool = True) -> None:
    for pair in headers:
        expect(isinstance(pair, (list, tuple)) and len(pair) == 2, "a header is a pair")
        name, value = pair
        expect(isinstance(name, bytes) and isinstance(value, bytes), "header names and values are bytes")
        expect(name != b"" and not set(name) & set(b" \t\r\n:\0"), "a header's name is a token")
        expect(not set(value) & set(b"\r\n\0"), "a header's value is one line")
        expect(not lower or name == name.lower(), "header names are in lower case")


def check_scope(scope: Any) -> None:
    """What an application gets, whoever made it."""
    expect(isinstance(scope, dict) and scope["type"] == "http", "the scope is a dict of an HTTP request")
    expect(scope["asgi"]["version"] == "3.0", "the scope names the version")
    expect(scope["http_version"] in ("1.0", "1.1", "2", "3"), "the HTTP version is known")
    expect(scope["method"] == scope["method"].upper(), "the method is in upper case")
    expect(scope["scheme"] in ("http", "https"), "the scheme is known")
    expect(isinstance(scope["path"], str) and scope["path"].startswith("/"), "the path is text")
    expect(isinstance(scope["root_path"], str), "the root path is text")
    expect(scope["path"].startswith(scope["root_path"]), "the path begins with the root path")
    expect(isinstance(scope["raw_path"], bytes) and b"?" not in scope["raw_path"], "the raw path is bytes, no query")
    expect(isinstance(scope["query_string"], bytes), "the query is bytes")
    expect(isinstance(scope["headers"], list), "the headers are a list")
    check_headers(scope["headers"])
    expect(isinstance(scope.get("extensions", {}), dict), "extensions are a dict")


def check_received(message: Any) -> None:
    expect(isinstance(message, dict), "a message is a dict")
    if message["type"] == "http.request":
        expect(isinstance(message.get("body", b""), bytes), "a request's body is bytes")
        expect(isinstance(message.get("more_body", False), bool), "more_body is a bool")
    else:
        expect(message == {"type": "http.disconnect"}, "after the request comes its end")
