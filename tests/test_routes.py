"""Which routes are enabled (contract §6)."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from reve_middleware import disabled, enabled
from reve_middleware.routes import Globs, Routes
from reve_middleware.visitor import Visit, current_visit


@pytest.mark.parametrize(
    ("routes", "exclude", "yes", "no"),
    [
        (None, (), ["/", "/a/b", "", "/_reve"], []),
        ((), (), [], ["/", "/a"]),
        (("/account/*",), (), ["/account/", "/account/x", "/account/x/y"], ["/account", "/accounts/x", "/x/account/"]),
        (("/a", "/b"), (), ["/a", "/b"], ["/", "/ab", "/a/", "/A"]),
        (None, ("/api/*",), ["/", "/api"], ["/api/", "/api/x"]),
        (("/a*",), ("/ab*",), ["/a", "/ac"], ["/ab", "/abc", "/b"]),
        (("/?",), (), ["/a", "/ä"], ["/", "/ab"]),
        (("/[ab]",), (), ["/a"], ["/c", "/[ab]"]),
        (("*.html",), (), ["/x.html"], ["/x.html\n", "/x.htm"]),
        (("/a+b",), (), ["/a+b"], ["/aab"]),
        (("/a|b",), (), ["/a|b"], ["/a", "b"]),
    ],
)
def test_globs_on_the_path(routes: Any, exclude: Any, yes: list[str], no: list[str]) -> None:
    """A route is enabled if a glob of `routes` matches its whole path, or there are none, and no glob of `exclude`."""
    asked = Routes(routes, exclude)
    assert [path for path in yes + no if asked.of(path).enabled] == yes


def test_no_globs_match_nothing() -> None:
    """An empty list of globs is false, and matches nothing."""
    assert not Globs(())
    assert not Globs(()).match("")
    assert Globs(("/",))


@pytest.fixture
def visit() -> Any:
    """The holder of one request that passes the middleware."""
    visit = Visit()
    token = current_visit.set(visit)
    yield visit
    current_visit.reset(token)


class Callable_:
    def __call__(self, request: str) -> str:
        return request


def plain(request: str) -> str:
    """A view."""
    return request


async def coroutine(request: str) -> str:
    return request


@pytest.mark.parametrize(("decorator", "value"), [(enabled, True), (disabled, False)])
def test_decorated_views_say_so_and_stay_themselves(decorator: Any, value: bool, visit: Visit) -> None:
    """A decorated view, sync or async, says whether it is enabled when it runs, and does what it did."""
    view = decorator(plain)
    assert (view.__name__, view.__doc__) == ("plain", "A view.")
    assert visit.enabled is None, "not when it is decorated"
    assert view("x") == "x"
    assert visit.enabled is value
    visit.enabled = None
    assert asyncio.iscoroutinefunction(decorator(coroutine))
    assert asyncio.run(decorator(coroutine)("x")) == "x"
    assert visit.enabled is value


def test_partials_and_callable_objects(visit: Visit) -> None:
    """A `functools.partial` and an object that is called are views too."""
    assert disabled(functools.partial(plain, "x"))() == "x"
    assert visit.enabled is False
    assert asyncio.run(enabled(functools.partial(coroutine, "x"))()) == "x"
    assert visit.enabled is True
    callable_object: Callable[[str], str] = Callable_()
    assert disabled(callable_object)("x") == "x"
    assert visit.enabled is False


def test_outside_the_middleware_nothing_happens() -> None:
    """Where no middleware is outside, a decorated view is just the view."""
    assert current_visit.get() is None
    assert enabled(plain)("x") == "x"
    assert asyncio.run(disabled(coroutine)("x")) == "x"


def test_the_decorator_nearest_to_the_view_has_the_last_word(visit: Visit) -> None:
    """Of two decorators the one nearest to the view counts."""
    enabled(disabled(plain))("x")
    assert visit.enabled is False


# Class-based views, as the frameworks enter them ------------------------------------------------


class Django:
    @classmethod
    def as_view(cls) -> Any:
        return lambda request: cls().dispatch(request)

    def dispatch(self, request: str) -> str:
        return self.get(request)

    def get(self, request: str) -> str:
        return request


class DjangoChild(Django):
    def get(self, request: str) -> str:
        return "child " + request


class Flask:
    def dispatch_request(self, request: str) -> str:
        return request


class Endpoint:
    """Starlette's: an instance for each request, awaited."""

    def __init__(self, request: str) -> None:
        self.request = request

    def __await__(self) -> Any:
        return self.dispatch().__await__()

    async def dispatch(self) -> str:
        return self.request


class Called:
    def __call__(self, request: str) -> str:
        return request


class Falcon:
    def on_get(self, request: str) -> str:
        return request

    async def on_post(self, request: str) -> str:
        return request


class Litestar:
    def get(self, request: str) -> str:
        return request


class Made:
    """Nothing but its construction is the view."""

    def __init__(self, request: str) -> None:
        self.request = request


async def awaited(endpoint: Any) -> str:
    return await endpoint  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("view", "route"),
    [
        (Django, lambda view: view.as_view()),
        (Flask, lambda view: view().dispatch_request),
        (Endpoint, lambda view: lambda request: asyncio.run(awaited(view(request)))),
        (Called, lambda view: view()),
        (Falcon, lambda view: view().on_get),
        (Falcon, lambda view: (lambda post: lambda request: asyncio.run(post(request)))(view().on_post)),
        (Litestar, lambda view: view().get),
        (Made, lambda view: lambda request: view(request).request),
    ],
)
def test_class_based_views(view: type, route: Any, visit: Visit) -> None:
    """A decorated class is the same class, and says so through whatever method its framework enters for a request."""
    fresh = type(view.__name__, (view,), {})
    assert disabled(fresh) is fresh
    enter = route(fresh)
    assert visit.enabled is None, "not when the application starts"
    assert enter("x") == "x"
    assert visit.enabled is False
    visit.enabled = None
    assert route(view)("x") == "x"
    assert visit.enabled is None, "the class it inherits from is not touched"


def test_a_subclass_of_a_decorated_view(visit: Visit) -> None:
    """A class that inherits from a decorated view inherits that as well, and may say otherwise."""
    base = disabled(type("Base", (Django,), {}))
    child = type("Child", (base,), {"get": DjangoChild.get})
    assert child.as_view()("x") == "child x"  # type: ignore[attr-defined]
    assert visit.enabled is False
    other = enabled(type("Other", (Django,), {}))
    assert other.as_view()("x") == "x"  # type: ignore[attr-defined]
    assert visit.enabled is True
