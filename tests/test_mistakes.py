"""Mistakes that are told at start: each is one error whose text says what is wrong, where, and what to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bottle
import falcon
import falcon.asgi
import pytest
from django_world import WsgiSite
from drive import KEYWORDS, ShellKind, Visitor
from mistaken import ada, fastapi_app, flask_app, message_of, starlette_app
from starlette.applications import Starlette

from reve_middleware import Bot, ReveMiddleware, ReveWSGIMiddleware, SettingsError
from reve_middleware.server import workers
from reve_middleware.settings import Settings

ENVIRONMENT = ("REVE_WEBHOOK_URL", "REVE_TOKEN", "REVE_CHATBOT_ID", "REVE_SECRET_KEY")
ENV_FILES = "(Docker's --env-file keeps quotes.)"
LINK = "it must be the bot's webhook link, https://…"
GLOBS = "it must be globs, not regular expressions or route patterns: '*' is anything, as in '/account/*'"
KEYS = "it must be text of at least 32 characters, or a list of such texts, newest first"
AS_ASGI = "the application is called like an ASGI one: wrap it in ReveMiddleware"
AS_WSGI = "the application is called like a WSGI one: wrap it in ReveWSGIMiddleware"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def asgi() -> Iterator[ShellKind]:
    kind = ShellKind("asgi")
    yield kind
    kind.close()


@pytest.fixture
def wsgi() -> Iterator[ShellKind]:
    kind = ShellKind("wsgi")
    yield kind
    kind.close()


async def async_profile(request: Any) -> dict[str, Any]:
    return {"id": 7}


async def load() -> dict[str, Any]:
    return {"id": 7}


@dataclass
class User:
    id: int = 7


# Keywords --------------------------------------------------------------------------------------

KEYWORDS_AND_TEXTS: dict[str, tuple[dict[str, Any], str]] = {
    "a forgotten secret": ({"secret_key": None}, f"secret_key is missing: {KEYS}; "
        "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one (or set REVE_SECRET_KEY in the "
        "environment)"),
    "a short secret": ({"secret_key": "secret"}, f"secret_key has 6 characters: {KEYS}; "
        "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"),
    "a link without its scheme": ({"webhook_url": "reve.example/hook"}, f"webhook_url is no address: {LINK}"),
    "a link over http": ({"webhook_url": "http://reve.example/hook"}, f"webhook_url begins with 'http': {LINK} "
        "(http is for loopback addresses alone)"),
    "a link with a line end": ({"webhook_url": "https://reve.example/hook\n"}, "webhook_url has quotes, brackets, "
        f"a blank or a line end around it: take them off. {ENV_FILES}"),
    "a link in quotes": ({"webhook_url": '"https://reve.example/hook"'}, "webhook_url has quotes, brackets, "
        f"a blank or a line end around it: take them off. {ENV_FILES}"),
    "the endpoint twice": ({"webhook_url": "https://reve.example/hook/login", "endpoint": "login"}, "webhook_url ends "
        "with /login, and endpoint='login' is appended to it: paste the link without it"),
    "the logout endpoint in the link": ({"webhook_url": "https://reve.example/bye/", "logout_endpoint": "bye"},
        "webhook_url ends with /bye, and logout_endpoint='bye' is appended to it: paste the link without it"),
    "Bearer before the token": ({"token": "Bearer canary"}, "token begins with 'Bearer': give the token alone, that "
        "word is added"),
    "the whole header as token": ({"token": "Authorization: Bearer canary"}, "token begins with 'Bearer': give the "
        "token alone, that word is added"),
    "a token with a line end": ({"token": "canary\n"}, "token has a blank or a line end around it: take it off, such "
        "as with .strip()"),
    "a token in quotes": ({"token": "'canary'"}, f"token has quotes or brackets around it: take them off. {ENV_FILES}"),
    "a placeholder as token": ({"token": "<canary>"}, f"token has quotes or brackets around it: take them off. "
        f"{ENV_FILES}"),
    "an id that is a number": ({"chatbot_id": 7}, "chatbot_id=7 is wrong: it must be the bot's id, 1 to 128 visible "
        "characters"),
    "a misspelt keyword": ({"webhok_url": ""}, "there is no keyword 'webhok_url'; did you mean 'webhook_url'?"),
    "REVE's own word": ({"botId": ""}, "there is no keyword 'botId'; did you mean 'chatbot_id'?"),
    "another library's word": ({"api_key": ""}, "there is no keyword 'api_key'; did you mean 'token'?"),
    "debug for dev": ({"debug": True}, "there is no keyword 'debug'; did you mean 'dev'?"),
    "a keyword of nowhere": ({"colour": 1}, "there is no keyword 'colour'; docs/reference/keywords.md has them all"),
    "a profile instead of its function": ({"profile": {"name": "canary"}}, "profile is a dict: it must be a callable "
        "of one argument, and not what that returns"),
    "a user instead of a function": ({"profile": User()}, "profile is a User: it must be a callable of one argument, "
        "and not what that returns"),
    "a function without the request": ({"profile": lambda: None}, "profile=<lambda>() is wrong: it is called with one "
        "argument"),
    "a regular expression as route": ({"routes": ("^/account/.*$",)}, f"routes='^/account/.*$' is wrong: {GLOBS}"),
    "half a regular expression": ({"exclude": ("/account/.*",)}, f"exclude='/account/.*' is wrong: {GLOBS}"),
    "Flask's route": ({"routes": ("/user/<id>",)}, f"routes='/user/<id>' is wrong: {GLOBS}"),
    "FastAPI's route": ({"logout_routes": ("/user/{id}",)}, f"logout_routes='/user/{{id}}' is wrong: {GLOBS}"),
    "an address as route": ({"routes": ("https://shop.example/a",)}, "routes='https://shop.example/a' is wrong: it "
        "must be paths without scheme and host, such as '/account/*'"),
    "a route that is no list": ({"routes": "/account/*"}, "routes='/account/*' is wrong: it must be a list or tuple: "
        "routes=('/account/*',)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", KEYWORDS_AND_TEXTS)
def test_a_wrong_keyword(mistake: str) -> None:
    """A keyword that is missing, misspelt or wrong is told by name, with what would be right; no secret is shown."""
    keywords, text = KEYWORDS_AND_TEXTS[mistake]
    message = message_of(SettingsError, lambda: ReveMiddleware(starlette_app(), **{**KEYWORDS, **keywords}))
    assert message == text
    assert "canary" not in message


def test_a_coroutine_instead_of_a_function() -> None:
    """profile=load() for profile=load: told, and no warning about a coroutine that nobody awaits comes on top."""
    text = "profile is a coroutine: it must be a callable of one argument, and not what that returns"
    assert message_of(SettingsError, lambda: ReveMiddleware(starlette_app(), **KEYWORDS, profile=load())) == text


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_an_empty_variable(name: str, environment: pytest.MonkeyPatch) -> None:
    """A REVE_… variable that is set but empty is told as that, and not as one that might be set."""
    environment.setenv(name, "")
    keyword = name.removeprefix("REVE_").lower()
    others = {key: value for key, value in KEYWORDS.items() if key != keyword}
    message = message_of(SettingsError, lambda: ReveMiddleware(starlette_app(), **others))
    assert message.startswith(f"{keyword} is missing, for {name} in the environment is empty: it must be ")


def test_a_wrong_variable(environment: pytest.MonkeyPatch) -> None:
    """A mistake in a variable names the variable, which is all that the person has seen; a keyword's does not."""
    environment.setenv("REVE_TOKEN", "canary\r")
    text = "token has a blank or a line end around it: take it off, such as with .strip()"
    others = {key: value for key, value in KEYWORDS.items() if key != "token"}
    assert (
        message_of(SettingsError, lambda: Settings(others)) == f"{text} (it comes from REVE_TOKEN in the environment)"
    )
    assert message_of(SettingsError, lambda: Settings({**KEYWORDS, "token": "canary\r"})) == text
    assert message_of(SettingsError, lambda: Bot(webhook_url="https://a.example", token="x ", chatbot_id="b")) == text


# What is wrapped -------------------------------------------------------------------------------

APPLICATIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "Flask in the ASGI wrapper": (lambda: ReveMiddleware(flask_app(), **KEYWORDS), AS_WSGI),
    "Flask's inner application in it": (lambda: ReveMiddleware(flask_app().wsgi_app, **KEYWORDS), AS_WSGI),
    "Bottle in it": (lambda: ReveMiddleware(bottle.Bottle(), **KEYWORDS), AS_WSGI),
    "Falcon in it": (lambda: ReveMiddleware(falcon.App(), **KEYWORDS), AS_WSGI),
    "Starlette in the WSGI wrapper": (lambda: ReveWSGIMiddleware(starlette_app(), **KEYWORDS), AS_ASGI),
    "FastAPI in it": (lambda: ReveWSGIMiddleware(fastapi_app(), **KEYWORDS), AS_ASGI),
    "Falcon's ASGI in it": (lambda: ReveWSGIMiddleware(falcon.asgi.App(), **KEYWORDS), AS_ASGI),
    "a class for an instance": (lambda: ReveMiddleware(Starlette, **KEYWORDS), "the application is the class "
        "Starlette: it must be an instance, such as Starlette(…)"),
    "Flask's class": (lambda: ReveWSGIMiddleware(type(flask_app()), **KEYWORDS), "the application is the class "
        "Flask: it must be an instance, such as Flask(…)"),
    "no application": (lambda: ReveMiddleware("site:app", **KEYWORDS), "the application is a str: it must be an ASGI "
        "application"),
    "keywords without names": (lambda: ReveMiddleware(starlette_app(), *KEYWORDS.values()), "ReveMiddleware got 5 "
        "things without a name: it takes the application, and keywords, as in app = ReveMiddleware(app, "
        "webhook_url=…)"),
    "async profile under WSGI": (lambda: ReveWSGIMiddleware(flask_app().wsgi_app, profile=async_profile, **KEYWORDS),
        "profile= is async, and WSGI has no event loop: pass a plain function"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", APPLICATIONS)
def test_a_wrong_application(mistake: str) -> None:
    """What cannot be wrapped, or not by this wrapper, is told when it is wrapped, and not with the first request."""
    make, text = APPLICATIONS[mistake]
    assert message_of(SettingsError, make) == text


@pytest.mark.parametrize("name", ["ReveMiddleware", "ReveWSGIMiddleware"])
def test_the_wrapper_in_djangos_list(name: str) -> None:
    """The general wrapper in Django's MIDDLEWARE: the text names the one that belongs there."""
    layers = [f"reve_middleware.{name}"]
    message = message_of(SettingsError, lambda: WsgiSite(lambda request: None, layers=layers, reve={}))
    assert message.startswith("the application is called with one argument, and ")
    assert message.endswith(": in Django's MIDDLEWARE write 'reve_middleware.django.ReveMiddleware'")


def test_keywords_in_djangos_settings() -> None:
    """The same mistakes in Django's REVE: told in the words of that dict."""

    def site(**reve: Any) -> Callable[[], Any]:
        return lambda: WsgiSite(None, layers=["reve_middleware.django.ReveMiddleware"], reve=reve)

    right = {name.upper(): value for name, value in KEYWORDS.items()}
    assert (
        message_of(SettingsError, site(**right, BOT_ID="x")) == "REVE has no key 'BOT_ID'; did you mean 'CHATBOT_ID'?"
    )
    text = "REVE[\"TOKEN\"] begins with 'Bearer': give the token alone, that word is added"
    assert message_of(SettingsError, site(**{**right, "TOKEN": "Bearer canary"})) == text


# What shows with the first request, and stops it -----------------------------------------------


def test_flask_around_itself(wsgi: ShellKind) -> None:
    """app.wsgi_app = ReveWSGIMiddleware(app): instead of a RecursionError, what to write; on each request."""
    app = flask_app()
    visitor = Visitor(wsgi.wrap(app, profile=ada), wsgi)
    app.wsgi_app = visitor.middleware  # type: ignore[method-assign]
    text = (
        "app.wsgi_app is around app, and app calls app.wsgi_app: "
        "write app.wsgi_app = ReveWSGIMiddleware(app.wsgi_app, …)"
    )
    app.testing = True
    for _ in range(2):
        assert message_of(SettingsError, lambda: visitor.get("/")) == text


def test_flask_with_the_class_itself(wsgi: ShellKind) -> None:
    """app.wsgi_app = ReveWSGIMiddleware, without a call: the text says what it takes."""
    app = flask_app()
    app.wsgi_app = ReveWSGIMiddleware  # type: ignore[assignment, method-assign]
    message = message_of(SettingsError, lambda: Visitor(app, wsgi).get("/"))
    assert message.startswith("ReveWSGIMiddleware got 2 things without a name: it takes the application, and keywords")
    assert message.endswith("app.wsgi_app = ReveWSGIMiddleware(app.wsgi_app, webhook_url=…)")


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
def test_add_middleware_with_an_instance(make: Any, asgi: ShellKind) -> None:
    """app.add_middleware(ReveMiddleware(app, …)): loud with the first request; Python's own words name the class."""
    app = make()
    app.add_middleware(asgi.wrap(app))
    assert message_of(TypeError, lambda: Visitor(app, asgi).get("/")) in (
        "ReveMiddleware.__call__() missing 2 required positional arguments: 'receive' and 'send'",
        "ReveMiddleware.__call__() got an unexpected keyword argument 'app'",  # an older Starlette
    )


def test_add_middleware_with_a_wrong_keyword(asgi: ShellKind) -> None:
    """app.add_middleware(ReveMiddleware, webook_url=…): told by name when the layers are built."""
    app = starlette_app()
    app.add_middleware(ReveMiddleware, webook_url="x")  # type: ignore[call-arg, arg-type, unused-ignore]
    text = "there is no keyword 'webook_url'; did you mean 'webhook_url'?"
    assert message_of(SettingsError, lambda: Visitor(app, asgi).get("/")) == text


@pytest.mark.parametrize(
    ("make", "name", "instead"),
    [
        (lambda: ReveWSGIMiddleware(flask_app(), **KEYWORDS), "route",
         "the Flask in it: write app.wsgi_app = ReveWSGIMiddleware(app.wsgi_app, …); app stays app"),
        (lambda: ReveMiddleware(fastapi_app(), **KEYWORDS), "get",
         "the FastAPI in it: write app.add_middleware(ReveMiddleware, …); app stays app"),
        (lambda: ReveWSGIMiddleware(bottle.Bottle(), **KEYWORDS), "route",
         "the Bottle in it: write the result of ReveWSGIMiddleware(app, …) to another name; app stays app"),
    ],
)  # fmt: skip
def test_the_applications_own_attributes(make: Any, name: str, instead: str) -> None:
    """app = ReveMiddleware(app, …) and then @app.route: the text says how app stays what it is."""
    wrapped = make()
    own = type(wrapped).__name__
    text = f"{own!r} object has no attribute {name!r}, which is that of {instead}"
    assert message_of(AttributeError, lambda: getattr(wrapped, name)) == text
    assert message_of(AttributeError, lambda: wrapped.nothing) == f"{own!r} object has no attribute 'nothing'"


def test_attributes_that_the_application_has_not() -> None:
    """Where the application has no such attribute either, the text is Python's own."""
    wrapped = ReveWSGIMiddleware(lambda environ, start_response: [], **KEYWORDS)
    text = "'ReveWSGIMiddleware' object has no attribute 'route'"
    assert message_of(AttributeError, lambda: wrapped.route) == text  # type: ignore[attr-defined]
    assert not hasattr(wrapped, "run")
    assert vars(ReveWSGIMiddleware.mro()[1])["run"] is ReveWSGIMiddleware.run  # type: ignore[attr-defined]


# The server ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "concurrency", "count"),
    [
        (["/venv/bin/uvicorn", "site:app", "--workers", "4"], "", 4),
        (["/venv/bin/uvicorn", "site:app", "--workers=3"], "", 3),
        (["/venv/lib/uvicorn/__main__.py", "site:app", "--workers", "2"], "", 2),
        (["gunicorn", "-w", "4", "site:app"], "", 4),
        (["gunicorn", "-w8", "site:app"], "", 8),
        (["gunicorn.exe", "site:app"], "5", 5),
        (["gunicorn", "site:app", "-w", "2"], "5", 2),
        (["granian", "site:app", "--workers", "2"], "", 2),
        (["hypercorn", "site:app", "-w", "2"], "", 2),
        (["uvicorn", "site:app"], "", 1),
        (["uvicorn", "site:app", "--workers"], "", 1),
        (["uvicorn", "site:app", "--workers", "many"], "", 1),
        (["manage.py", "sync", "--workers", "4"], "4", 1),
        (["-c"], "4", 1),
        ([], "", 1),
    ],
)
def test_how_many_workers(argv: list[str], concurrency: str, count: int) -> None:
    """The number of workers is what the server's command line says, else WEB_CONCURRENCY; of other programs nothing is
    believed."""
    assert workers(argv, {"WEB_CONCURRENCY": concurrency} if concurrency else {}) == count
