"""Mistakes in who the visitor is and what the bot may know: each is told once in the log, with its cure."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import itertools
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import flask
import pytest
from drive import ShellKind
from fastapi import Depends
from mistaken import PAGE, Newcomer, ada, fastapi_app, flask_app, starlette_app
from pydantic import BaseModel
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse

from reve_middleware import asking, identify, sign_out

UNKNOWN = "; the visitor counts as unknown"
HERE = r"test_mistakes_who\.py:\d+"


@pytest.fixture
def asgi(caplog: pytest.LogCaptureFixture) -> Iterator[Newcomer]:
    kind = ShellKind("asgi")
    yield Newcomer(kind, caplog)
    kind.close()


@pytest.fixture
def wsgi(caplog: pytest.LogCaptureFixture) -> Iterator[Newcomer]:
    kind = ShellKind("wsgi")
    yield Newcomer(kind, caplog)
    kind.close()


# Who is it? ------------------------------------------------------------------------------------


class Nobody:
    """As Starlette's authentication has it: nobody is logged in."""

    async def authenticate(self, connection: Any) -> None:
        return None


async def user_of_request(request: Request) -> Any:
    return {"id": request.user.display_name}


async def user_id(request: Request) -> Any:
    return {"id": request.user.id}


async def session_of_request(request: Request) -> Any:
    return {"id": request.session["user"]}


async def session_of_scope(request: Request) -> Any:
    return {"id": request.scope["session"]["user"]}


async def form_of_request(request: Request) -> Any:
    return await request.json()


def flask_session(request: Any) -> Any:
    return {"id": flask.session["user"]}


def flask_arguments(request: Any) -> Any:
    return {"id": request.args["user"]}


def lazy_attribute(request: Any) -> Any:
    class DetachedInstanceError(Exception):
        """SQLAlchemy's, raised when an attribute is read after the database session's end."""

    raise DetachedInstanceError("canary")


def nobody_attribute(request: Any) -> Any:
    user = None
    return {"id": user.id}  # type: ignore[attr-defined]


def attribute_by_hand(request: Any) -> Any:
    raise AttributeError("canary")


SESSIONS = Middleware(SessionMiddleware, secret_key="x")
LOGIN = Middleware(AuthenticationMiddleware, backend=Nobody())
WHO: dict[str, tuple[str, Callable[[], Any], Callable[[Any], Any], str]] = {
    "no login layer": ("asgi", starlette_app, user_of_request, rf"AssertionError at {HERE} \(requests.py:\d+\): "
        r"request\.user is set by a login layer inside of this middleware \(in Starlette: AuthenticationMiddleware\)"),
    "no session layer": ("asgi", starlette_app, session_of_request, rf"AssertionError at {HERE} \(requests.py:\d+\): "
        r"request\.session is set by a session layer inside of this middleware"),
    "no session in the scope": ("asgi", starlette_app, session_of_scope, rf"KeyError at {HERE}: "
        r"request\.session is set by a session layer inside of this middleware"),
    "nobody in the session": ("asgi", lambda: starlette_app(SESSIONS), session_of_request, rf"KeyError at {HERE}: "
        r"is nobody logged in\? Then return None"),
    "Starlette's nobody": ("asgi", lambda: starlette_app(LOGIN), user_id, rf"AttributeError at {HERE}: "
        r"is nobody logged in\? Then return None"),
    "an attribute of None": ("asgi", starlette_app, nobody_attribute, rf"AttributeError at {HERE}: "
        r"is nobody logged in\? Then return None"),
    "an attribute that somebody says is missing": ("asgi", starlette_app, attribute_by_hand,
        rf"AttributeError at {HERE}(?!: is nobody)"),
    "the body": ("asgi", starlette_app, form_of_request, rf"RuntimeError at {HERE} \(requests.py:\d+\): "
        r"the body belongs to the view: read it there, and call identify\(\)"),
    "SQLAlchemy": ("asgi", starlette_app, lazy_attribute, rf"DetachedInstanceError at {HERE}: "
        r"the database session is closed by now: read what the bot may know in the view"),
    "Starlette's user in Flask": ("wsgi", lambda: flask_app().wsgi_app, lambda request: request.user,
        rf"AssertionError at {HERE} \(requests.py:\d+\): .* in Flask and others ask the framework, "
        r"as in flask_login\.current_user"),
    "nobody in Flask's session": ("wsgi", lambda: flask_app().wsgi_app, flask_session, rf"KeyError at {HERE}"
        r"( \(\w+\.py:\d+\))?: is nobody logged in\? Then return None"),
    "Flask's words for Starlette's request": ("wsgi", lambda: flask_app().wsgi_app, flask_arguments, "AttributeError "
        rf"at {HERE}( \(\w+\.py:\d+\))?: this is Starlette's Request, whatever the framework"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WHO)
def test_a_profile_that_raises(mistake: str, request: pytest.FixtureRequest) -> None:
    """profile= raises: the application's own line is named first, and the usual mistakes have their cure."""
    shell, make, profile, pattern = WHO[mistake]
    newcomer: Newcomer = request.getfixturevalue(shell)
    newcomer.visit(make(), profile=profile)
    code, text = newcomer.once()
    assert code == "raised"
    assert re.fullmatch(rf"profile= raised {pattern}.*{re.escape(UNKNOWN)}", text), text
    assert "canary" not in text


def test_flask_without_a_look_up(wsgi: Newcomer) -> None:
    """subrequest=None, and a profile that asks Flask: the capture's own request has not come to Flask."""
    wsgi.visit(flask_app().wsgi_app, times=0, profile=flask_session, subrequest=None)
    code, text = wsgi.once()
    assert (code, "leave subrequest= out, and a look-up passes it" in text) == ("raised", True)


def test_a_coroutine_under_wsgi(wsgi: Newcomer) -> None:
    """profile=lambda request: load(request) with an async load, which the start cannot see: told as what it is."""

    async def load(request: Any) -> Any:
        return ada(request)

    wsgi.visit(flask_app().wsgi_app, profile=lambda request: load(request))
    text = "returned a coroutine, and WSGI has no event loop: pass a plain function that returns the value itself"
    assert wsgi.once() == ("raised", f"profile= {text}{UNKNOWN}")


def test_nobody_says_who_it_is(asgi: Newcomer, wsgi: Newcomer) -> None:
    """Neither profile= nor identify(): told with the first report of a chat."""
    for newcomer, app in ((asgi, starlette_app()), (wsgi, flask_app().wsgi_app)):
        newcomer.visit(app)
    (code, text), again = asgi.heard
    assert (code, text) == again
    assert code == "nobody"
    assert "there is no profile=, and no code that subrequest= reaches called identify()" in text


def test_a_dependency_that_the_look_up_misses(asgi: Newcomer) -> None:
    """FastAPI's dependencies run only for routes that exist: subrequest= is named; with it nothing is said."""

    def user() -> None:
        identify({"id": 7})

    def me() -> str:
        return "Ada"

    app = fastapi_app()
    app.add_api_route("/users/me", me, dependencies=[Depends(user)])
    asgi.visit(app)
    code, text = asgi.once()
    assert (code, text.endswith("such as subrequest='/users/me'")) == ("nobody", True)
    asgi.visit(app, subrequest="/users/me")
    assert len(asgi.heard) == 1


def test_a_login_that_is_over(asgi: Newcomer) -> None:
    """A logout without sign_out(): the bot still knows the visitor, and that is told; a site that does call it hears
    nothing."""
    who: list[Any] = [{"id": 7}]

    async def page(request: Request) -> HTMLResponse:
        if request.url.path == "/logout":
            sign_out()
        return HTMLResponse(PAGE)

    visitor = asgi.visit(starlette_app(view=page), profile=lambda request: who[0])
    visitor.get("/logout")
    visitor.capture("s-2")
    who[0] = None
    visitor.get("/")
    assert asgi.heard == []
    for keywords in ({}, {"logout_routes": ("/logout",)}):
        who[0] = {"id": 7}
        visitor = asgi.visit(starlette_app(), profile=lambda request: who[0], **keywords)
        who[0] = None
        for _ in range(3):
            visitor.get("/")
    code, text = asgi.once()
    assert (code, "call sign_out() in the view that logs out" in text) == ("no_sign_out", True)


def test_a_public_page(asgi: Newcomer, caplog: pytest.LogCaptureFixture) -> None:
    """Cache-Control: public on a page that shows who is logged in: told where the log takes information."""
    caplog.set_level("INFO", "reve_middleware")
    asgi.visit(starlette_app(Cache_Control="public, max-age=60"), profile=ada)
    code, text = asgi.once()
    assert (code, text.endswith("A page that shows who is logged in must be private")) == ("public", True)


# What may the bot know? ------------------------------------------------------------------------


@dataclass
class Dataclass:
    id: int = 7


class Model(BaseModel):
    id: int = 7


async def coroutine() -> dict[str, Any]:
    return {"id": 7}


NO_DICT = 'it must be a dict of what the bot may know, such as {"id": user.id, "name": user.name}'
PROFILES: dict[str, tuple[Callable[[], Any], str]] = {
    "a dataclass": (Dataclass, f"the profile is a Dataclass: {NO_DICT}"),
    "pydantic's model": (Model, f"the profile is a Model: {NO_DICT}"),
    "a list": (lambda: [7], f"the profile is a list: {NO_DICT}"),
    "the request": (lambda: Request({"type": "http", "headers": [(b"a", b"b")]}), "the profile is a Request: "
        f"{NO_DICT}"),
    "a datetime": (lambda: {"id": 7, "at": datetime.datetime(2026, 1, 1)}, "field 'at' is a datetime, which is not "
        "JSON: write .isoformat()"),
    "a Decimal": (lambda: {"id": 7, "owes": decimal.Decimal(1)}, "field 'owes' is a Decimal, which is not JSON: write "
        "str(…)"),
    "a UUID": (lambda: {"id": uuid.UUID(int=7)}, "field 'id' is a UUID, which is not JSON: write str(…)"),
    "a set": (lambda: {"id": 7, "roles": {"admin"}}, "field 'roles' is a set, which is not JSON: write sorted(…)"),
    "a model inside": (lambda: {"id": 7, "plan": Model()}, "field 'plan' is a Model, which is not JSON: it must be "
        "text, a number, true, false, None, a list or a dict"),
    "a date deep inside": (lambda: {"id": 7, "orders": [{"on": datetime.date(2026, 1, 1)}]}, "field 'orders' holds a "
        "date, which is not JSON: write .isoformat()"),
    "a method without its call": (lambda: {"id": 7, "name": Model().model_dump}, "field 'name' is a method, which is "
        "not JSON: write its value, f() instead of f"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PROFILES)
def test_a_profile_that_cannot_be_sent(mistake: str, asgi: Newcomer) -> None:
    """A profile that is no dict, or holds what is not JSON: the field is named, and what to write."""
    make, text = PROFILES[mistake]
    asgi.visit(starlette_app(), profile=lambda request: make())
    assert asgi.once() == ("profile", f"the profile is not pushed: {text}")


@pytest.mark.filterwarnings("ignore:coroutine 'coroutine' was never awaited:RuntimeWarning")
def test_identify_without_await(asgi: Newcomer) -> None:
    """identify(load()) without await: told as that."""

    async def page(request: Request) -> HTMLResponse:
        identify(coroutine())  # type: ignore[arg-type]
        return HTMLResponse(PAGE)

    asgi.visit(starlette_app(view=page))
    assert asgi.once() == ("profile", "the profile is not pushed: the profile is a coroutine: await it first")


def test_identify_with_the_request(asgi: Newcomer) -> None:
    """identify(request, profile): Python's own error, in the view, where it is seen."""

    async def page(request: Request) -> HTMLResponse:
        identify(request, {"id": 7})  # type: ignore[call-arg, arg-type]
        return HTMLResponse(PAGE)

    visitor = asgi.visitor(starlette_app(view=page))
    with pytest.raises(TypeError, match=r"^identify\(\) takes 1 positional argument but 2 were given$"):
        visitor.get("/")


@pytest.mark.parametrize("profile", [{"name": "Ada"}, {"user_id": 7}, {"id": None}, {"id": ""}])
def test_a_profile_of_nobody(profile: dict[str, Any], asgi: Newcomer) -> None:
    """A profile without id, email and phone, or with an empty one: told with identity= as the way out."""
    asgi.visit(starlette_app(), profile=lambda request: profile)
    code, text = asgi.once()
    assert code == "no_identity"
    assert text.endswith(
        "put 'id', 'email' or 'phone' into it (text that is not empty, or a number), or pass identity="
    )


def test_a_profile_that_never_rests(asgi: Newcomer) -> None:
    """A profile with last_seen: the field that differs each time is named."""
    seen = itertools.count()
    asgi.visit(starlette_app(), times=9, profile=lambda request: {"id": 7, "last_seen": next(seen)})
    code, text = asgi.once()
    assert (code, text.startswith("the profile's field 'last_seen' differs on every response")) == ("restless", True)


# Time ------------------------------------------------------------------------------------------


async def quick(request: Any) -> Any:
    return {"id": 7}


async def waits(request: Any) -> Any:
    await asyncio.sleep(0)
    return {"id": 7}


@pytest.mark.parametrize("profile", [quick, waits, ada])
def test_a_slow_profile(profile: Any, asgi: Newcomer, wsgi: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that keeps taking longer than half a second, blocking or not: told once; later asks are not timed."""
    assert (asking.SLOW_SECONDS, asking.SLOW_ASKS, asking.FIRST_ASKS) == (0.5, 5, 50)
    monkeypatch.setattr(asking, "SLOW_SECONDS", -1.0)  # longer than that takes each
    monkeypatch.setattr(asking, "FIRST_ASKS", 6)
    visitors = [asgi.visit(starlette_app(), times=8, profile=profile)]
    if profile is ada:
        visitors.append(wsgi.visit(flask_app().wsgi_app, times=8, profile=profile))
    assert [code for code, _ in asgi.heard] == ["slow"] * len(visitors)
    assert asgi.heard[0][1].startswith(
        "profile= took more than 0.5 s five times, and each response to a visitor with a chat waits"
    )
    for visitor in visitors:
        assert not {"ask_at_once", "ask_in_place", "finish"} & set(vars(visitor.middleware._callables))


def test_a_profile_that_blocks(asgi: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that takes more than 2 s: told, with what to do about it."""
    go = threading.Event()
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.02)
    asgi.visit(starlette_app(), times=0, profile=lambda request: go.wait(20))
    go.set()
    code, text = asgi.once()
    assert code == "timed_out"
    assert text.endswith(f"(read what the login has loaded){UNKNOWN}")
