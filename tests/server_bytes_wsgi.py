"""The site of tests/server_bytes_site.py, bare, as a WSGI application."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from server_bytes_answers import (
    ANSWERS,
    HEAD,
    HTML,
    PAGE,
    PATIENCE,
    PIECE,
    PIECES,
    STR,
    TEXT,
    Failure,
    Made,
    Wait,
    address,
    file_of,
    request_seen,
)  # fmt: skip

Environ = dict[str, Any]


def site(environ: Environ, start_response: Any) -> Iterable[Any]:
    path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
    if path == "/fails":
        raise Failure
    if path == "/echo":
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size) if size or not environ.get("wsgi.input_terminated") else _rest(environ)
        made = Made([HTML], (HEAD, str(len(body)).encode(), body[-20:]))
    elif path == "/seen":
        made = Made([TEXT], (request_seen(environ),))
    elif path == "/leave":
        return _wsgi_leave(query, start_response)
    elif path in ("/file", "/file-page"):
        wrapper = environ.get("wsgi.file_wrapper")
        made, file = file_of(path, handed=isinstance(wrapper, type))
        start_response(made.status, made.all_headers())
        if environ["REQUEST_METHOD"] == "HEAD":
            return []
        opened = file.open("rb")
        return wrapper(opened, len(PIECE)) if wrapper else iter(lambda: opened.read(len(PIECE)), b"")
    elif path == "/twice":
        return _twice(query, start_response)
    else:
        made = (ANSWERS | STR).get(path, ANSWERS["/not-found"])
    if environ["REQUEST_METHOD"] == "HEAD":
        start_response(made.status, made.all_headers())
        return []
    return STYLES[parse_qs(query).get("style", ["early"])[0]](made, start_response, query)


def _rest(environ: Environ) -> bytes:
    return environ["wsgi.input"].read()  # type: ignore[no-any-return]


def _twice(query: str, start_response: Any) -> list[bytes]:
    """Fails after its first start, and says so in another page."""
    start_response("200 OK", [HTML, *([] if query else [("Content-Length", "9")])])
    try:
        raise Failure
    except Failure:
        start_response("500 Sorry", Made([HTML]).all_headers(), sys.exc_info())
    return [PAGE]


def _steps(made: Made, query: str) -> Iterator[Any]:
    for step in made.steps:
        if isinstance(step, Failure):
            raise Failure
        if isinstance(step, Wait):
            with socket.create_connection(address(query), PATIENCE) as gate:
                gate.recv(1)
        else:
            yield step


def _early(made: Made, start_response: Any, query: str) -> Iterable[Any]:
    start_response(made.status, made.all_headers())
    if len(made.steps) == 1:
        return list(_steps(made, query))
    return _steps(made, query)


def _lazy(made: Made, start_response: Any, query: str) -> Iterable[Any]:
    start_response(made.status, made.all_headers())
    yield from _steps(made, query)


def _list(made: Made, start_response: Any, query: str) -> Iterable[Any]:
    start_response(made.status, made.all_headers())
    return list(_steps(made, query))


def _write(made: Made, start_response: Any, query: str) -> Iterable[Any]:
    write = start_response(made.status, made.all_headers())
    for chunk in _steps(made, query):
        write(chunk)
    return []


STYLES: dict[str, Callable[[Made, Any, str], Iterable[Any]]] = {
    "early": _early, "lazy": _lazy, "list": _list, "write": _write,
}  # fmt: skip


class _Leaving:
    """Writes until the server has noticed that the visitor is gone; says how often it is closed."""

    def __init__(self, gate: socket.socket) -> None:
        self._gate = gate
        self._chunks = self._write()
        self._closed = 0

    def _write(self) -> Iterator[bytes]:
        yield HEAD
        self._gate.recv(1)
        yield from [PIECE] * PIECES

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self._closed += 1
        self._gate.sendall(f"closed {self._closed}".encode())
        self._gate.close()


def _wsgi_leave(query: str, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", Made([HTML], length=-1).all_headers())
    return _Leaving(socket.create_connection(address(query), PATIENCE))
