"""Django, set up once for a process of tests; and the adapter as two more shells, in Django's own handlers.

kind = Kind("django-asgi")                        # or "django-wsgi"
visitor = kind.visitor(view, profile=profile)     # a site with sessions, login and CSRF; every path is that view
with_people()                                     # for sites that use the database: ada and grace have accounts
"""

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache, wraps
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.http import HttpResponse, StreamingHttpResponse
from django.test.utils import override_settings
from drive import KEYWORDS, App, Asked, Call, Last, Reply, ShellKind, Start, Visitor, call_asgi, call_wsgi
from starlette.requests import Request

from reve_middleware.environ import EnvironScope

OURS = "reve_middleware.django.ReveMiddleware"
LAYERS = [
    "django.middleware.security.SecurityMiddleware",
    OURS,
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
FOLDER = Path(tempfile.mkdtemp(prefix="reve-django-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "db.sqlite3",
            "OPTIONS": {
                "init_command": "PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY;"
            },  # it lives for a test run
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "reve_middleware.django.ReveConfig",
    ],
    LOGGING_CONFIG=None,
    MIDDLEWARE=LAYERS,
    MIGRATION_MODULES={"auth": None, "contenttypes": None, "sessions": None},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    REVE={name.upper(): value for name, value in KEYWORDS.items()},
    ROOT_URLCONF="django_urls",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402

from reve_middleware.django import middleware  # noqa: E402
from reve_middleware.django_objects import Cookie  # noqa: E402


def in_capitals(keywords: dict[str, Any]) -> dict[str, Any]:
    return {name.upper(): value for name, value in keywords.items()}


@cache
def with_people() -> None:
    """Tables, and two accounts."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    for name in ("ada", "grace"):
        User.objects.create_user(name, f"{name}@shop.example", "only-for-tests", first_name=name.title())


# The adapter as two more shells ----------------------------------------------------------------


class Site:
    """A Django site of one view, and what the tests ask of a middleware."""

    def __init__(self, view: Any, *, layers: list[str], reve: dict[str, Any]) -> None:
        self.view = view
        with override_settings(MIDDLEWARE=layers, REVE=reve):
            super().__init__()
            self.shell = middleware() if OURS in layers else None

    def resolve_request(self, request: Any) -> Any:
        if self.view is None:
            return super().resolve_request(request)  # type: ignore[misc]
        return self.view, (), {}

    def close(self, seconds: float = 2.0) -> None:
        self.shell.close(seconds)  # type: ignore[union-attr]

    def stats(self) -> Any:
        return self.shell.stats()  # type: ignore[union-attr]


class AsgiSite(Site, ASGIHandler):
    pass


class WsgiSite(Site, WSGIHandler):
    pass


class Kind(ShellKind):
    """The adapter, in Django's handler for ASGI or for WSGI."""

    @property
    def under_asgi(self) -> bool:
        return self.name == "django-asgi"

    def application(self, app: App) -> Any:
        return self.handler(view_of(app, self.under_asgi), layers=[], reve={})

    def wrap(self, application: Any, **keywords: Any) -> Any:
        return self.site_of(application.view, [OURS], shown=as_starlette, **keywords)

    def site_of(self, view: Any, layers: list[str], shown: Any = None, **keywords: Any) -> Any:
        """A site of one view (None: of `django_urls`) behind these layers."""
        given = {**KEYWORDS, "client": self.webhook, **keywords}
        if "handoff" in given:
            del given["client"]
        if "bots" in given:
            given = {name: value for name, value in given.items() if name not in ("webhook_url", "token", "chatbot_id")}
        for name in ("profile", "identity", "consent"):
            if shown is not None and given.get(name) is not None:
                given[name] = shown(given[name])
        self._built.append(self.handler(view, layers=layers, reve=in_capitals(given)))
        return self._built[-1]

    def handler(self, view: Any, *, layers: list[str], reve: dict[str, Any]) -> Any:
        return (AsgiSite if self.under_asgi else WsgiSite)(view, layers=layers, reve=reve)

    def visitor(self, view: Any, layers: list[str] = LAYERS, **keywords: Any) -> Visitor:
        """A visitor of a real Django site."""
        return Visitor(self.site_of(view, layers, **keywords), self)

    def call(self, application: Any, call: Call) -> Reply:
        if self.under_asgi:
            return call_asgi(application, call, lower=False)
        reply = call_wsgi(application, call)
        return reply._replace(headers=[(name, value.strip()) for name, value in reply.headers])  # as servers do


def as_starlette(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The shared tests' callables ask Starlette's request; the adapter shows Django's."""

    @wraps(function)
    def call(request: Any) -> Any:
        return function(Request(request.scope if hasattr(request, "scope") else EnvironScope(request.environ)))

    return call


def view_of(app: App, under_asgi: bool) -> Any:
    """The neutral application as a Django view."""

    def view(request: Any) -> Any:
        headers = {name.lower(): value for name, value in request.headers.items()}
        raw = request.scope if under_asgi else request.environ
        mount = request.META["SCRIPT_NAME"]
        steps = iter(app(Asked(request.method, request.path_info, mount, request.META["QUERY_STRING"], headers, raw)))
        start = next(steps)
        assert isinstance(start, Start)
        first = next(steps, Last())
        if isinstance(first, Last):
            response: Any = HttpResponse(first.data, status=start.status)
        else:
            response = StreamingHttpResponse(
                (stream_async if under_asgi else stream)(first, steps), status=start.status
            )
        del response["Content-Type"]
        for name, value in start.headers:
            if name == "Set-Cookie":
                cookie = Cookie(value)
                response.cookies[cookie.key] = cookie
            elif value or name != "Content-Type":
                response[name] = value
        return response

    return view


def stream(first: Any, steps: Iterator[Any]) -> Iterator[bytes]:
    yield first
    for step in steps:
        yield step.data if isinstance(step, Last) else step


async def stream_async(first: Any, steps: Iterator[Any]) -> AsyncIterator[bytes]:
    for chunk in stream(first, steps):
        await asyncio.sleep(0)
        yield chunk
