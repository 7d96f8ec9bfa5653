"""In Django's views and templates: nonces, the tag by hand, `@enabled`, `identify()`."""

import sys
from collections.abc import Iterator
from typing import Any

import django_layers
import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.template import engines
from django.test.utils import override_settings
from django.utils.functional import SimpleLazyObject
from django.views import View
from django_world import LAYERS, OURS, Kind
from drive import PAGE, elsewhere, said
from test_django_layers import TAGGED
from test_table import TAG

from reve_middleware import disabled, enabled, identify, script_tag, sign_out


@pytest.fixture(params=["django-asgi", "django-wsgi"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    kind = Kind(request.param)
    yield kind
    kind.close()


# Nonces ----------------------------------------------------------------------------------------

CSP, DJANGO_CSP = "django_layers.csp_of_django_6", "csp.middleware.CSPMiddleware"
STRICT = {"script-src": ["'strict-dynamic'", "<CSP_NONCE_SENTINEL>"], "connect-src": ["'self'"]}


def strict_for_django_csp() -> dict[str, Any]:
    from csp.constants import NONCE

    return {"DIRECTIVES": {"script-src": ["'strict-dynamic'", NONCE], "connect-src": ["'self'"]}}


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Django 6 has `django.middleware.csp`; older ones get our stand-in, which has the same two names."""

    try:
        import django.middleware.csp  # noqa: F401
    except ImportError:
        monkeypatch.setitem(sys.modules, "django.middleware.csp", django_layers)
    with override_settings(
        SECURE_CSP=STRICT, SECURE_CSP_REPORT_ONLY={}, CONTENT_SECURITY_POLICY=strict_for_django_csp()
    ):
        yield


def nonce_in(reply: Any) -> str:
    policy = reply.header("content-security-policy")
    return policy.partition("'nonce-")[2].partition("'")[0]


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize("policy", [CSP, DJANGO_CSP])
@pytest.mark.parametrize("form", [HttpResponse, lambda body: StreamingHttpResponse([body])], ids=["whole", "streamed"])
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_a_policy_outside_gives_its_nonce(kind: Kind, policy: str, form: Any) -> None:
    """Outside of ours a policy's layer makes its nonce for the tag: page and header have the same one, and each
    response another."""
    visitor = kind.visitor(lambda request: form(PAGE), [policy, *LAYERS])
    seen = set()
    for _ in range(2):
        reply = visitor.get("/")
        seen.add(nonce := nonce_in(reply))
        assert reply.body == PAGE.replace(b"<head>", b"<head>" + TAG.replace(b"></", f' nonce="{nonce}"></'.encode()))
    assert len(seen) == 2
    assert "" not in seen


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize("policy", [CSP, DJANGO_CSP])
def test_a_policy_outside_makes_no_nonce_for_nothing(kind: Kind, policy: str) -> None:
    """Where no tag goes out, no nonce is made."""
    visitor = kind.visitor(lambda request: HttpResponse(b"{}", content_type="application/json"), [policy, *LAYERS])
    assert "nonce" not in visitor.get("/").header("content-security-policy")  # type: ignore[operator]


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize("policy", [CSP, DJANGO_CSP])
def test_a_policy_of_the_view(kind: Kind, policy: str) -> None:
    """A policy that the view itself has set is the one that counts, and its nonce."""
    own = {"Content-Security-Policy": "script-src 'nonce-0wn'"}
    reply = kind.visitor(lambda request: HttpResponse(PAGE, headers=own), [policy, OURS]).get("/")
    assert reply.header("content-security-policy") == own["Content-Security-Policy"]
    assert reply.body == PAGE.replace(b"<head>", b"<head>" + TAG.replace(b"></", b' nonce="0wn"></'))


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize("policy", [CSP, DJANGO_CSP])
def test_a_policy_inside(kind: Kind, policy: str, caplog: pytest.LogCaptureFixture) -> None:
    """Inside of ours a policy has said its word already: a nonce that the page used is used; without one the page is
    left alone, and the log says what to add."""

    def view(request: Any) -> HttpResponse:
        if request.path_info == "/uses":
            nonce = request._csp_nonce if policy == CSP else request.csp_nonce
            assert str(nonce)
        return HttpResponse(PAGE)

    visitor = kind.visitor(view, [OURS, policy])
    reply = visitor.get("/uses")
    assert f' nonce="{nonce_in(reply)}"></script><title>'.encode() in reply.body
    assert visitor.get("/").body == PAGE
    assert [code for code, _ in said(caplog)] == ["policy"]


def test_a_nonce_by_hand(kind: Kind) -> None:
    """`script_tag(request, nonce=request.csp_nonce)` takes a nonce that is made when it is asked for."""

    def view(request: Any) -> HttpResponse:
        nonce = SimpleLazyObject(lambda: "r4nd0m")
        return HttpResponse(f"<html><head>{script_tag(request, nonce=nonce)}</head></html>")

    tag = TAG.replace(b"></", b' nonce="r4nd0m"></')
    assert kind.visitor(view, [OURS], inject=False).get("/").body == b"<html><head>" + tag + b"</head></html>"


# In views --------------------------------------------------------------------------------------


def test_the_tag_in_a_template(kind: Kind) -> None:
    """`script_tag(request)` takes Django's own request, in any thread, and templates do not escape it."""
    template = engines["django"].from_string("<html><head>{{ tag }}</head></html>")

    def view(request: Any) -> HttpResponse:
        return HttpResponse(template.render({"tag": elsewhere(script_tag, request)}))

    visitor = kind.visitor(view, [OURS], inject=False)
    visitor.mount = "/shop"
    tag = TAG.replace(b"/_reve", b"/shop/_reve", 1)
    assert visitor.get("/").body == b"<html><head>" + tag + b"</head></html>"


class Switched:
    """Views of each kind."""

    def __init__(self, switch: Any) -> None:
        @switch
        def sync_view(request: Any) -> HttpResponse:
            return HttpResponse(PAGE)

        @switch
        async def async_view(request: Any) -> HttpResponse:
            return HttpResponse(PAGE)

        @switch
        class ClassView(View):
            def get(self, request: Any) -> HttpResponse:
                return HttpResponse(PAGE)

        @switch
        class AsyncClassView(View):
            async def get(self, request: Any) -> HttpResponse:
                return HttpResponse(PAGE)

        self.views = [sync_view, async_view, ClassView.as_view(), AsyncClassView.as_view()]


def test_routes_are_paths_inside_the_mount(kind: Kind) -> None:
    """`ROUTES` and `EXCLUDE` are globs on the path that Django's own URLs are matched with."""
    visitor = kind.visitor(lambda request: HttpResponse(PAGE), [OURS], routes=("/a*", "/wüst/*"), exclude=("/a/b",))
    for mount in ("", "/möunt"):
        visitor.mount = mount
        tagged = [path for path in ("/a", "/a/c", "/wüst/ä", "/a/b", "/b") if b"<script" in visitor.get(path).body]
        assert tagged == ["/a", "/a/c", "/wüst/ä"]


@pytest.mark.parametrize("number", range(4), ids=["function", "async function", "class", "async class"])
def test_enabled_and_disabled_views(kind: Kind, number: int) -> None:
    """`@enabled` and `@disabled` overrule the globs on views of every kind."""
    on, off = (Switched(switch).views[number] for switch in (enabled, disabled))
    assert kind.visitor(on, [OURS], exclude=("/*",)).get("/").body == TAGGED
    assert kind.visitor(off, [OURS]).get("/").body == PAGE


@pytest.mark.parametrize("number", [0, 1], ids=["sync", "async"])
def test_identify_and_sign_out_in_views(kind: Kind, number: int) -> None:
    """What a sync or an async view says about its visitor counts."""

    def view(request: Any) -> HttpResponse:
        sign_out() if request.path_info == "/out" else identify({"id": 7})
        return HttpResponse(PAGE)

    async def aview(request: Any) -> HttpResponse:
        return view(request)

    visitor = kind.visitor([view, aview][number], [OURS])
    visitor.capture()
    assert [post.data for post in visitor.pushed()] == [{"id": 7}]
    assert len(visitor.get("/out").values("set-cookie")) == 2
