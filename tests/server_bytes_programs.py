"""The servers that tests/server_bytes_site.py runs on, and what each of them does in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import NamedTuple


class Program(NamedTuple):
    """A server, and what is known of it."""

    protocol: str
    command: str
    without: Mapping[str, str] = MappingProxyType({})
    """Scripts that it does not get, by name or glob, and why: what it does, bare and wrapped."""
    slow: tuple[str, ...] = ()
    """Scripts that it takes seconds for, bare and wrapped; not in the suite."""
    http2: bool = False
    splits: bool = True
    """Are chunks the application's? Where another process hands them on, they come out as they happen to be read."""

    def lacks(self, script: str) -> str | None:
        """Why it does not get this script."""
        return next((why for glob, why in self.without.items() if fnmatchcase(script, glob)), None)

    def is_slow(self, script: str) -> bool:
        return any(fnmatchcase(script, glob) for glob in self.slow)


UVICORN = "uvicorn server_bytes_site:asgi --uds {path} --no-access-log"
HYPERCORN = "hypercorn server_bytes_site:asgi --bind unix:{path}"
GRANIAN = "granian --uds {path} --interface"
GUNICORN = "gunicorn server_bytes_site:wsgi --bind unix:{path} --workers 1"
UWSGI = "uwsgi --module server_bytes_site:wsgi --master --need-app --die-on-term --disable-logging"
CRASHES = "two tasks send at once, and the whole process ends"
LATE = "whether it closes the connection depends on whether the body came in time"
HALF = "it never ends an answer that the application does not end"
TWO_HEADS = "a second start adds its headers to those of the first"
NO_CONTINUE = "it does not ask for the body"
WAITS = "it answers when it has the body"
UNREAD = ("a body unread: long", "a body unread: chunked", "a body too late", "100-continue, unread")
EMPTY = ("/none*", "/not-modified", "HEAD *", "a long connection", "pipelined")
FAILURES = ("/fails*", "POST to a form that fails", "web socket fails")
PROGRAMS = {
    "uvicorn h11": Program("asgi", f"{UVICORN} --http h11 --ws wsproto"),
    "uvicorn httptools": Program("asgi", f"{UVICORN} --http httptools --ws wsproto"),
    "hypercorn": Program("asgi", HYPERCORN, {"HTTP/2: unread": "it drops the connection"}, http2=True),
    "hypercorn trio": Program(
        "asgi", f"{HYPERCORN} --worker-class trio", dict.fromkeys(FAILURES, CRASHES) | {"a body too late": LATE}
    ),
    "granian asgi": Program("asgi", f"{GRANIAN} asgi server_bytes_site:asgi", dict.fromkeys(UNREAD, LATE), http2=True),
    "daphne": Program(
        "asgi",
        "daphne -v 0 -u {path} server_bytes_site:asgi",
        dict.fromkeys(("/fails-*", "/too-short, closed"), HALF) | {"a body too late": WAITS},
        slow=FAILURES,
    ),
    "granian wsgi": Program(
        "wsgi",
        f"{GRANIAN} wsgi server_bytes_site:wsgi",
        dict.fromkeys(UNREAD, LATE)
        | dict.fromkeys(("/fails-*", "/str-in-page"), "how much of an answer that breaks off comes out is chance")
        | {"*, lazy": "it sends the start before the first chunk is asked for", "/too-short, closed": HALF}
        | {"/unfinished, write": "it has no write(), which is seen when something goes out"},
        http2=True,
    ),
    "gunicorn sync": Program("wsgi", GUNICORN, {"/twice*": TWO_HEADS}),
    "gunicorn --preload": Program("wsgi", f"{GUNICORN} --preload", {"/twice*": TWO_HEADS}),
    "gunicorn gthread": Program("wsgi", f"{GUNICORN} --worker-class gthread --threads 2", {"/twice*": TWO_HEADS}),
    "gunicorn gevent": Program("wsgi", f"{GUNICORN} --worker-class gevent", {"/twice*": TWO_HEADS}),
    "waitress": Program("wsgi", "waitress --unix-socket {path} server_bytes_site:wsgi", {"a body too late": WAITS}),
    "cheroot": Program(
        "wsgi",
        "cheroot --bind {path} server_bytes_site:wsgi",
        {"/twice*": TWO_HEADS, "a body too late": WAITS, "/too-long, closed": "it sends the head again"},
    ),
    "uwsgi": Program("wsgi", f"{UWSGI} --http-socket {{path}}", {"100-continue, read": NO_CONTINUE}),
    "uwsgi --http": Program(
        "wsgi",
        f"{UWSGI} --http 127.0.0.1:{{port}} --http-keepalive --http-auto-chunked",
        {"100-continue, read": NO_CONTINUE}
        | dict.fromkeys((*FAILURES, "/str*", "/twice*"), HALF)
        | dict.fromkeys(EMPTY, "it puts a chunk behind answers that have no body"),
        splits=False,
    ),
    "wsgiref": Program("wsgi", "server_bytes_wsgiref {fd}", {"100-continue, read": NO_CONTINUE}),
    "mod_wsgi": Program(
        "wsgi",
        "mod_wsgi-express start-server server_bytes_site.py --callable-object wsgi --log-to-terminal --port {port} "
        "--user www-data --group www-data --server-root {folder}/apache --keep-alive-timeout 1 --threads 2",
        {"a body too late": WAITS},
        slow=("/fails-*", "/str-in-page"),
        splits=False,
    ),
}


def package_of(name: str) -> str:
    """What must be installed for a server; empty for one that Python brings."""
    word = PROGRAMS[name].command.split()[0]
    return {"server_bytes_wsgiref": "", "uwsgi": "pyuwsgi", "mod_wsgi-express": "mod_wsgi"}.get(word, word)


IN_SUITE = [name for name in PROGRAMS if name not in ("uwsgi --http", "mod_wsgi")]
"""Those that start in no time; what is left out takes a second process, or Apache."""
