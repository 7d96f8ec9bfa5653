"""Where each framework is called: the lowest point, replaced as soon as its module has run."""

from __future__ import annotations

import functools
from typing import Any

from reve_upstream_layers import MODE, Layers, count_tags, counts, keywords, layer, replace_call


def starlette_applications(module: Any) -> None:
    replace_call(module.Starlette, "asgi")


def fastapi_applications(module: Any) -> None:
    replace_call(module.FastAPI, "asgi")


def starlette_testclient(module: Any) -> None:
    """Applications that are mere functions: each request, and lifespan."""
    layers = Layers("asgi")
    transport, client = module._TestClientTransport, module.TestClient
    handle_request, lifespan = transport.handle_request, client.lifespan

    class Seen:
        """The client, or its transport, with a layer around its application."""

        def __init__(self, real: Any) -> None:
            self._real = real
            self.app = layers.around(real.app)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    def handle(self: Any, request: Any) -> Any:
        counts["requests"] += 1
        return handle_request(Seen(self), request)

    transport.handle_request = handle
    client.lifespan = lambda self: lifespan(Seen(self))


def flask_app(module: Any) -> None:
    replace_call(module.Flask, "wsgi")


def werkzeug_test(module: Any) -> None:
    layers, run_wsgi_app = Layers("wsgi"), module.run_wsgi_app

    def run(app: Any, environ: Any, buffered: bool = False) -> Any:
        counts["requests"] += 1
        return run_wsgi_app(layers.around(app), environ, buffered)

    module.run_wsgi_app = functools.wraps(run_wsgi_app)(run)


def werkzeug_serving(module: Any) -> None:
    server = module.BaseWSGIServer
    init = server.__init__

    def made(self: Any, *arguments: Any, **keywords: Any) -> None:
        init(self, *arguments, **keywords)
        self.app = layer("wsgi", self.app)

    server.__init__ = functools.wraps(init)(made)


def bottle_itself(module: Any) -> None:
    replace_call(module.Bottle, "wsgi")


def falcon_app(module: Any) -> None:
    replace_call(module.App, "wsgi")


def falcon_asgi_app(module: Any) -> None:
    replace_call(module.App, "asgi")


def pyramid_router(module: Any) -> None:
    replace_call(module.Router, "wsgi")


def webob_request(module: Any) -> None:
    layers, call_application = Layers("wsgi"), module.BaseRequest.call_application

    def call(self: Any, application: Any, *arguments: Any, **keywords: Any) -> Any:
        counts["requests"] += 1
        return call_application(self, layers.around(application), *arguments, **keywords)

    module.BaseRequest.call_application = functools.wraps(call_application)(call)


def webob_response(module: Any) -> None:
    replace_call(module.Response, "wsgi")


def django_wsgi(module: Any) -> None:
    replace_call(module.WSGIHandler, "wsgi")


def django_asgi(module: Any) -> None:
    replace_call(module.ASGIHandler, "asgi")


def django_test_client(module: Any) -> None:
    """The test client's handlers take an environ or a scope and return Django's response: it is made a WSGI or
    ASGI answer, and what our layer changed is put back into the response. Where that cannot be done (a stream
    under the async client, an async one under the other) only the head goes through."""
    sync_call, async_call = module.ClientHandler.__call__, module.AsyncClientHandler.__call__

    def call(self: Any, environ: Any) -> Any:
        counts["requests"] += 1
        given: list[Any] = []
        sent: list[Any] = []

        def application(environ: Any, start_response: Any) -> Any:
            response = sync_call(self, environ)
            given[:] = [response, heads(response)]
            start_response(f"{response.status_code} {response.reason_phrase}", list(given[1]))
            return [] if response.streaming and response.is_async else response

        def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
            sent[:] = [status, headers]

        body = layer("wsgi", application)(environ, start_response)
        response, before = given
        if response.streaming:
            if body is not response and not response.is_async:
                response.streaming_content = (chunk for chunk in body)  # whose close() is not the response's
        elif body is not response:
            put_body(response, b"".join(body))
        assert int(sent[0][:3]) == response.status_code
        put_heads(response, before, sent[1])
        return response

    async def acall(self: Any, scope: Any) -> Any:
        counts["requests"] += 1
        given: list[Any] = []
        sent: list[Any] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            response = await async_call(self, scope)
            given[:] = [response, heads(response)]
            raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given[1]]
            await send({"type": "http.response.start", "status": response.status_code, "headers": raw})
            await send({"type": "http.response.body", "body": b"" if response.streaming else response.content})

        async def send(message: Any) -> None:
            sent.append(message)

        await layer("asgi", application)(scope, None, send)
        response, before = given
        if not response.streaming:
            put_body(response, b"".join(message.get("body", b"") for message in sent[1:]))
        after = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        put_heads(response, before, after)
        return response

    module.ClientHandler.__call__ = functools.wraps(sync_call)(call)
    module.AsyncClientHandler.__call__ = functools.wraps(async_call)(acall)


def heads(response: Any) -> list[tuple[str, str]]:
    return [*response.items(), *(("Set-Cookie", one.OutputString()) for one in response.cookies.values())]


def put_heads(response: Any, before: Any, after: Any) -> None:
    for name, value in after:
        if (name, value) not in before:
            if name.lower() == "set-cookie":
                response.cookies.load(value)
            else:
                response.headers[name] = value


def put_body(response: Any, body: bytes) -> None:
    if body != response.content:
        response.content = body


def django_base(module: Any) -> None:
    """Our Django middleware in every handler's `MIDDLEWARE`: behind what must see the whole page, before the rest."""
    load = module.BaseHandler.load_middleware

    def loaded(self: Any, is_async: bool = False) -> None:
        from django.conf import settings

        from reve_middleware.django import ReveMiddleware

        count_tags()
        if not hasattr(ReveMiddleware, "counted"):
            ReveMiddleware.counted = True
            replace_count(ReveMiddleware)
        given = list(settings.MIDDLEWARE)
        at = max((place + 1 for place, name in enumerate(given) if name.endswith(OUTSIDE)), default=0)
        settings.REVE = {name.upper(): value for name, value in keywords().items()}
        settings.MIDDLEWARE = [*given[:at], "reve_middleware.django.ReveMiddleware", *given[at:]]
        try:
            load(self, is_async)
        finally:
            settings.MIDDLEWARE = given
            del settings.REVE

    module.BaseHandler.load_middleware = loaded


def replace_count(middleware: Any) -> None:
    original = middleware.__call__

    def call(self: Any, request: Any) -> Any:
        counts["requests"] += 1
        return original(self, request)

    middleware.__call__ = call


OUTSIDE = ("GZipMiddleware", "ConditionalGetMiddleware", "UpdateCacheMiddleware", "SecurityMiddleware")
PLACES = (
    {"django.core.handlers.base": django_base}
    if MODE.startswith("django")
    else {
        "bottle": bottle_itself,
        "django.core.handlers.asgi": django_asgi,
        "django.core.handlers.wsgi": django_wsgi,
        "django.test.client": django_test_client,
        "falcon.app": falcon_app,
        "falcon.asgi.app": falcon_asgi_app,
        "fastapi.applications": fastapi_applications,
        "flask.app": flask_app,
        "pyramid.router": pyramid_router,
        "starlette.applications": starlette_applications,
        "starlette.testclient": starlette_testclient,
        "webob.request": webob_request,
        "webob.response": webob_response,
        "werkzeug.serving": werkzeug_serving,
        "werkzeug.test": werkzeug_test,
    }
)
