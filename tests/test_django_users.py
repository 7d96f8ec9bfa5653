"""Who is logged in, as Django knows it: `request.user`, `request.auser()`, login and logout, in both worlds."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import django_layers
import pytest
from django.contrib.auth import alogin, alogout, authenticate, login, logout
from django.db import connection, connections
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django_world import LAYERS, OURS, Kind, User, with_people
from drive import PAGE, PATIENCE, said

from reve_middleware import Bot, asking, django_settings

TESTS_LIMITS = True

GONE = [f"{name}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Secure" for name in ("__Host-reve", "__Host-reve-mark")]
ADA = {"id": 1, "name": "Ada"}


@pytest.fixture(params=["django-asgi", "django-wsgi"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    with_people()
    kind = Kind(request.param)
    yield kind
    kind.close()


def told(user: Any) -> dict[str, Any] | None:
    return {"id": user.pk, "name": user.first_name} if user.is_authenticated else None


def profile(request: Any) -> Any:
    assert isinstance(request, HttpRequest)
    return told(request.user)


async def aprofile(request: Any) -> Any:
    assert isinstance(request, HttpRequest)
    return told(await request.auser())


def site(request: Any) -> HttpResponse:
    """/login?ada and /logout, and a page that does not ask who it is."""
    if request.path_info == "/login":
        login(request, authenticate(request, username=request.META["QUERY_STRING"], password="only-for-tests"))
    if request.path_info == "/logout":
        logout(request)
    return HttpResponse(PAGE)


async def asite(request: Any) -> HttpResponse:
    if request.path_info == "/login":
        await alogin(request, await User.objects.aget(username=request.META["QUERY_STRING"]))
    if request.path_info == "/logout":
        await alogout(request)
    return HttpResponse(PAGE)


# Asking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [site, asite])
@pytest.mark.parametrize("asks", [profile, aprofile, lambda request: aprofile(request)], ids=["sync", "async", "both"])
def test_the_user_is_found_in_both_worlds(
    kind: Kind, asks: Callable[[Any], Any], view: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A sync `profile` may ask `request.user` and an async one `await request.auser()`, under ASGI and under WSGI, at
    a capture as on any other response."""
    visitor = kind.visitor(view, profile=asks)
    assert visitor.capture("s-1").json == {"status": "anonymous"}
    assert "__Host-reve-mark" in visitor.get("/login?ada").cookies
    assert visitor.capture("s-2").json == {"status": "queued"}
    assert visitor.get("/").values("set-cookie") == []
    assert sorted((post.chat[1], post.data["name"]) for post in visitor.pushed()) == [("s-1", "Ada"), ("s-2", "Ada")]
    assert said(caplog) == []


def test_sync_callables_run_in_the_requests_own_thread(kind: Kind) -> None:
    """A sync `profile`, `identity` or `consent` runs in the thread, and on the database connection, of Django's own
    sync views."""
    seen: dict[str, Any] = {}

    def note(name: str, answer: Any) -> Callable[[Any], Any]:
        def call(request: Any) -> Any:
            User.objects.count()
            seen[name] = (threading.get_ident(), id(connection.connection))
            return answer(request) if callable(answer) else answer

        return call

    view = note("view", lambda request: HttpResponse(PAGE))
    visitor = kind.visitor(view, profile=note("profile", ADA), identity=note("identity", 1), consent=note("consent", 1))
    visitor.capture()
    seen.clear()
    visitor.get("/")
    assert set(seen) == {"view", "profile", "identity", "consent"}
    assert len(set(seen.values())) == 1


def test_async_callables_run_on_the_event_loop() -> None:
    """Under ASGI an async `profile` runs in the task's own thread."""
    kind, seen = Kind("django-asgi"), []

    async def note(request: Any) -> Any:
        seen.append((threading.get_ident(), id(asyncio.current_task())))
        return HttpResponse(PAGE) if request.path_info == "/" else ADA

    async def asks(request: Any) -> Any:
        await note(request)
        return ADA

    visitor = kind.visitor(note, profile=asks)
    visitor.capture()
    seen.clear()
    visitor.get("/")
    assert len(seen) == 2
    assert len(set(seen)) == 1
    kind.close()


@pytest.mark.parametrize("where", ["token", "bots"])
def test_no_connection_is_left_in_a_thread_of_ours(kind: Kind, where: str) -> None:
    """Database connections are opened in Django's threads alone, but for a token's callable that asks for one: what
    that opened is closed again."""
    opened: list[tuple[str, Any]] = []
    made: list[str] = []

    def token() -> str:
        assert User.objects.filter(username="ada").exists()
        opened.append((threading.current_thread().name, connections["default"]))
        return "token-of-the-database"

    def note(connection: Any, **_: Any) -> None:
        made.append(threading.current_thread().name)

    bot = Bot(webhook_url="https://reve.example/hook", token=token, chatbot_id="bot")
    given: dict[str, Any] = {"token": token} if where == "token" else {"bots": [bot]}
    visitor = kind.visitor(site, profile=profile, **given)
    connection_created.connect(note)
    try:
        visitor.get("/login?ada")
        visitor.capture()
        (post,) = visitor.pushed()
    finally:
        connection_created.disconnect(note)
    assert post.headers["authorization"] == "Bearer token-of-the-database"
    ((name, of_the_thread),) = opened
    assert name.startswith("reve-middleware")
    assert of_the_thread.connection is None
    assert [one for one in made if one.startswith("reve-middleware")] == [name]


def test_an_async_profile_that_asks_the_sync_user(caplog: pytest.LogCaptureFixture) -> None:
    """`request.user` in an async `profile` raises what Django raises; the visitor sees nothing of it, and the log names
    it."""
    with_people()
    kind = Kind("django-asgi")

    async def wrong(request: Any) -> Any:
        return told(request.user)

    visitor = kind.visitor(site, profile=wrong)
    visitor.get("/login?ada")
    assert visitor.capture().json == {"status": "anonymous"}
    assert visitor.get("/").status == 200
    ((code, text),) = said(caplog)
    assert code == "raised"
    assert text.startswith("profile= raised SynchronousOnlyOperation at ")
    assert text.endswith("; the visitor counts as unknown")
    kind.close()


@pytest.mark.parametrize("error", [KeyError("a canary"), StopIteration("a canary"), TimeoutError("a canary")], ids=repr)
@pytest.mark.parametrize("name", ["profile", "identity", "consent"])
def test_a_callable_that_raises(kind: Kind, name: str, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A callable that raises costs the visitor nothing, and the log names it, but not what it said."""

    def raises(request: Any) -> Any:
        raise error

    visitor = kind.visitor(site, [OURS], **{"profile": profile, name: raises})
    assert visitor.capture().json == {"status": "declined" if name == "consent" else "anonymous"}
    reply = visitor.get("/")
    assert (reply.status, reply.values("set-cookie")) == (200, [])
    ((code, text),) = said(caplog)
    assert code == "raised"
    assert text.startswith(f"{name}= raised ")
    assert "canary" not in caplog.text


@pytest.mark.parametrize(("protocol", "asks"), [("asgi", "sync"), ("asgi", "async"), ("wsgi", "async")])
def test_a_profile_that_hangs(
    protocol: str, asks: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Async callables have 2 s under both protocols, and sync ones under ASGI: the response goes out without them."""
    assert asking.ASK_SECONDS == django_settings.ASK_SECONDS == 2.0
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(django_settings, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(django_layers, "answered", threading.Event())

    def hangs(request: Any) -> Any:
        assert request.method == "POST" or django_layers.answered.wait(PATIENCE)

    async def ahangs(request: Any) -> Any:
        if request.method == "GET":
            await asyncio.get_running_loop().create_future()

    kind = Kind(f"django-{protocol}")
    asked = hangs if asks == "sync" else ahangs
    visitor = kind.visitor(site, ["django_layers.says_when", OURS], profile=asked, subrequest=None)
    visitor.capture()
    django_layers.answered.clear()
    assert visitor.get("/").status == 200
    assert [code for code, _ in said(caplog)] == ["timed_out" if kind.under_asgi else "raised"]
    kind.close()


# Login and logout ------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [site, asite])
def test_a_logout_of_django_signs_the_visitor_out(kind: Kind, view: Any) -> None:
    """`logout()` and `alogout()` of somebody who was logged in let the chat go, and tell the logout endpoint."""
    visitor = kind.visitor(view, profile=profile, endpoint="login", logout_endpoint="logout")
    visitor.get("/login?ada")
    visitor.capture()
    assert [value for value in visitor.get("/logout").values("set-cookie") if "reve" in value] == GONE
    assert [(post.url[-6:], post.data) for post in visitor.pushed()] == [("/login", ADA), ("logout", {})]


@pytest.mark.parametrize("view", [site, asite])
def test_a_logout_of_nobody_is_none(kind: Kind, view: Any) -> None:
    """`logout()` where nobody is logged in, as on login pages, does not let a chat go."""
    visitor = kind.visitor(view, profile=profile, logout_endpoint="logout")
    visitor.capture()
    assert visitor.get("/logout").values("set-cookie") == []
    visitor.get("/login?ada")
    assert [post.data for post in visitor.pushed()] == [ADA]


def test_a_login_as_another_lets_the_chat_go(kind: Kind) -> None:
    """Who logs in as somebody else has not reported this chat."""
    visitor = kind.visitor(site, profile=profile)
    visitor.get("/login?ada")
    visitor.capture()
    assert [value for value in visitor.get("/login?grace").values("set-cookie") if "reve" in value] == GONE
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada"]


def test_a_layer_that_logs_out_during_the_look_up(kind: Kind) -> None:
    """A layer that ends an old session when the look-up comes by has logged the visitor out."""
    visitor = kind.visitor(site, [*LAYERS, "django_layers.logs_out_on_capture"], profile=profile)
    visitor.get("/login?ada")
    assert visitor.capture().json == {"status": "anonymous"}
    assert visitor.pushed() == []


def test_without_djangos_sessions(kind: Kind) -> None:
    """A site without Django's users has its own way: whatever its layers put on the request is there."""
    layers = [LAYERS[1], "django_layers.user_of_header"]
    visitor = kind.visitor(site, layers, profile=lambda request: {"id": request.user_of_header})
    assert visitor.capture(x_user="7").json == {"status": "queued"}
    assert [post.data for post in visitor.pushed()] == [{"id": "7"}]
