"""Our layer around one application, in each mode of reve_upstream.py."""

from __future__ import annotations

import functools
import os
import sys
import time
import weakref
from collections import Counter
from typing import Any

MODE = os.environ.get("REVE_UPSTREAM", "bare")
SECRET = "a secret key for other people's tests"
CHAT, USER = ("bot", "chat-1"), {"id": 1, "name": "Ada", "email": "ada@example.com"}
DEV = os.environ.get("REVE_UPSTREAM_DEV", "1") == "1"
"""It says so in the log, which a test may count."""
WITH_CHAT = ("chat", "known")
counts: Counter[str] = Counter()


def layer(kind: str, application: Any) -> Any:
    """Our middleware around it, and in the modes `chat` and `known` a browser with a cookie around that."""
    from reve_middleware import ReveMiddleware, ReveWSGIMiddleware, SettingsError

    made = ReveMiddleware if kind == "asgi" else ReveWSGIMiddleware
    given = keywords()
    if kind == "asgi":  # sync ones run in a thread: `send` then waits, which some tests cannot bear of any server
        given |= {"profile": as_async(given["profile"]), "handoff": as_async(given["handoff"])}
    hiding, browsing = {"asgi": (hiding_asgi, browsing_asgi), "wsgi": (hiding_wsgi, browsing_wsgi)}[kind]
    try:
        return browsing(made(hiding(application), **given)) if MODE in WITH_CHAT else made(application, **given)
    except SettingsError:
        counts["refused applications"] += 1  # where a test's own process ends of it, nobody else says so
        raise


def as_async(function: Any) -> Any:
    async def called(argument: Any) -> Any:
        return function(argument)

    return called


def keywords() -> dict[str, Any]:
    return {
        "webhook_url": "http://127.0.0.1:9/closed",
        "token": "token",
        "chatbot_id": CHAT[0],
        "secret_key": SECRET,
        "profile": (lambda request: dict(USER)) if MODE in WITH_CHAT else (lambda request: None),
        "inject": MODE.endswith("inject"),
        "handoff": pushed,
        "dev": DEV,
    }


def pushed(push: Any) -> None:
    """Stands in for the webhook."""
    counts["pushes"] += 1


@functools.cache
def cookies() -> str:
    """The `Cookie` header of a visitor with a chat."""
    from reve_middleware.cookie import Cookies, Ids
    from reve_middleware.mark import Hasher, Mark
    from reve_middleware.push import encode_profile

    now = time.time_ns() // 1000
    jar, ids, hasher = Cookies("reve", [SECRET], dev=DEV), Ids(*CHAT, now), Hasher([SECRET])
    mark = Mark(
        session=hasher.digest("session", "\0".join(ids.key)),
        who=hasher.digest("who", str(USER["id"])),
        version="",
        profile=hasher.digest("profile", encode_profile(USER)),
        at=now,
    )
    written = [jar.write_ids(ids), *([jar.write_mark(mark, ids, now)] if MODE == "known" else [])]
    return "; ".join(value.partition(b";")[0].decode() for value in written)


class Carried(list[Any]):
    """The headers of a scope with our cookie, and as they were."""

    bare: Any = None


class Cookie(str):
    """The `HTTP_COOKIE` of an environ with ours, and as it was."""

    __slots__ = ("bare",)
    bare: str | None


def browsing_asgi(middleware: Any) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> Any:
        bare = scope.get("headers")
        if scope["type"] != "http" or bare is None or isinstance(bare, Carried):
            return await middleware(scope, receive, send)
        if not isinstance(bare, list):  # one that can be read once, of pairs that can be read once
            bare = [tuple(pair) for pair in bare]
        scope["headers"] = carried = Carried([*bare, (b"cookie", cookies().encode())])
        carried.bare = bare
        try:
            return await middleware(scope, receive, send)
        finally:
            scope["headers"] = bare

    return application


def hiding_asgi(application: Any) -> Any:
    """The application sees the request as its tests made it: what fails then is ours."""

    async def hidden(scope: Any, receive: Any, send: Any) -> Any:
        carried = scope.get("headers")
        if not isinstance(carried, Carried):
            return await application(scope, receive, send)

        async def outgoing(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen, scope["headers"] = scope["headers"], carried
                try:
                    return await send(message)
                finally:
                    scope["headers"] = seen
            return await send(message)

        scope["headers"] = carried.bare
        return await application(scope, receive, outgoing)

    return hidden


def set_cookie(environ: Any, value: str | None) -> None:
    if value is None:
        environ.pop("HTTP_COOKIE", None)
    else:
        environ["HTTP_COOKIE"] = value


def browsing_wsgi(middleware: Any) -> Any:
    def application(environ: Any, start_response: Any) -> Any:
        bare = environ.get("HTTP_COOKIE")
        if isinstance(bare, Cookie):
            return middleware(environ, start_response)
        environ["HTTP_COOKIE"] = carried = Cookie(f"{bare}; {cookies()}" if bare else cookies())
        carried.bare = bare
        try:
            return middleware(environ, start_response)
        finally:
            set_cookie(environ, bare)

    return application


def hiding_wsgi(application: Any) -> Any:
    def hidden(environ: Any, start_response: Any) -> Any:
        carried = environ.get("HTTP_COOKIE")
        if not isinstance(carried, Cookie):
            return application(environ, start_response)

        def outgoing(*arguments: Any, **keywords: Any) -> Any:
            seen = environ.get("HTTP_COOKIE")
            environ["HTTP_COOKIE"] = carried
            try:
                return start_response(*arguments, **keywords)
            finally:
                set_cookie(environ, seen)

        set_cookie(environ, carried.bare)
        try:
            return application(environ, outgoing)
        finally:
            environ["HTTP_COOKIE"] = carried

    return hidden


def is_of_a_site(record: Any) -> bool:
    """Is this line of our log one that a site would see? There is a layer around the client's application, and others
    in it around each framework's own class, which is said; a site wraps once. Some tests count what is in the log."""
    return getattr(record, "reve", "") != "inner"


def count_tags() -> None:
    """Count the pages that get the tag, in each module that puts it in."""
    from reve_middleware.inject import insert

    def counting(*arguments: Any) -> Any:
        counts["tags"] += 1
        return insert(*arguments)

    for name, module in list(sys.modules.items()):
        ours = name.startswith("reve_middleware.") and name != insert.__module__
        if ours and getattr(module, "insert", None) is insert:
            module.insert = counting  # type: ignore[attr-defined]


class Layers:
    """One layer for each application, as long as the application lives."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._made: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def around(self, application: Any, call: Any = None) -> Any:
        """`call`: how it is called, where the application's own `__call__` is replaced."""
        call = call or (lambda app, *arguments: app(*arguments))
        try:
            found = self._made.get(application)
            alive = weakref.ref(application)
        except TypeError:  # no hash or no weak references: a layer for each call
            return layer(self.kind, functools.partial(call, application))
        if found is None:
            found = layer(self.kind, lambda *arguments: call(alive(), *arguments))
            self._made[application] = found
        return found


def replace_call(owner: Any, kind: str) -> None:
    """Every instance of the class is called through a layer of its own."""
    original, layers = owner.__call__, Layers(kind)
    if kind == "asgi":

        async def call(self: Any, scope: Any, receive: Any, send: Any) -> Any:
            counts["requests"] += scope["type"] == "http"
            return await layers.around(self, original)(scope, receive, send)

    else:

        def call(self: Any, environ: Any, start_response: Any) -> Any:
            counts["requests"] += 1
            return layers.around(self, original)(environ, start_response)

    owner.__call__ = functools.wraps(original)(call)
