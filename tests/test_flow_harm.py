"""Whatever the application's callables do, through both shells: not one byte of a response changes (contract §5)."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from drive import HOST, PAGE, Call, ShellKind, Visitor, said
from pure import no_dict, no_json
from shop import Shop
from test_flow_who import IDS

from reve_middleware import exchange, identify


@pytest.fixture
def shop() -> Shop:
    return Shop()


class Trap(dict[str, Any]):
    """A dict that raises when it is read."""

    def __iter__(self) -> Any:
        raise RuntimeError("a canary")

    keys = items = __iter__  # type: ignore[assignment]


def circle() -> Any:
    profile: dict[str, Any] = {"id": 1}
    profile["me"] = profile
    return profile


def nested() -> Any:
    inner: Any = []
    for _ in range(20_000):
        inner = [inner]
    return {"id": 1, "deep": inner}


def raising(error: BaseException) -> Callable[[Any], Any]:
    def callable_(request: Any) -> Any:
        raise error

    return callable_


LINE = "a\\n"
NOT_PUSHED = "the profile is not pushed: "
RUBBISH: dict[str, tuple[Callable[[], Any], str]] = {
    "text": (lambda: "a canary", no_dict("str")),
    "a number": (lambda: 5, no_dict("int")),
    "False": (lambda: False, no_dict("bool")),
    "a list": (lambda: [("id", 1)], no_dict("list")),
    "an object": (lambda: Shop(), no_dict("Shop")),
    "NaN": (lambda: {"id": 1, "x": math.nan}, "field 'x' (float) is not JSON (NaN, infinity, or it contains itself)"),
    "infinity": (lambda: {"id": math.inf}, "field 'id' (float) is not JSON (NaN, infinity, or it contains itself)"),
    "a circle": (circle, "field 'me' (dict) is not JSON (NaN, infinity, or it contains itself)"),
    "a set": (
        lambda: {"id": 1, "roles": {"canary"}},
        no_json("'roles'", "set", "write sorted(…)"),
    ),
    "bytes": (
        lambda: {"id": b"canary"},
        no_json("'id'", "bytes", "write .decode()"),
    ),
    "half a character": (lambda: {"id": 1, "n": "\ud800"}, "field 'n' (str) has text that is not valid Unicode"),
    "a name that is no text": (lambda: {"id": 1, 2: "canary"}, "a field's name is a int, not text"),
    "depth": (nested, "field 'deep' (list) is nested too deeply"),
    "1 MB": (
        lambda: {"id": 1, "notes": "x" * 2**20},
        "the profile has 1048595 bytes of JSON, more than 16384; the largest field is 'notes'",
    ),
    "a byte too much": (
        lambda: {"id": 1, "n": "x" * (16384 - 14)},
        "the profile has 16385 bytes of JSON, more than 16384; the largest field is 'n'",
    ),
    "a trap": (lambda: Trap(id=1), "the profile cannot be read: RuntimeError"),
    "a long name on two lines": (
        lambda: {"id": 1, "a\n" * 50: object()},
        no_json(f"'{20 * LINE}\\u2026'", "object"),
    ),
}


def same_as_bare(shell: ShellKind, visitor: Visitor) -> None:
    """Every kind of response to this visitor is what the bare application says, but for the tag."""
    for path in ("/", "/json"):
        headers = [("Host", HOST), ("Cookie", "; ".join(f"{name}={value}" for name, value in visitor.jar.items()))]
        bare = shell.call(shell.application(visitor.middleware.shop), Call(path=path, headers=headers))
        wrapped = visitor.get(path)
        assert wrapped.status == bare.status
        assert wrapped.headers == bare.headers
        assert wrapped.body == bare.body


def quiet_visitor(shell: ShellKind, shop: Shop, **keywords: Any) -> Visitor:
    """A visitor with a chat, of a site whose pages are not touched."""
    visitor = shop.visitor(shell, inject=False, **keywords)
    visitor.middleware.shop = shop
    visitor.jar["user"] = "ada"
    return visitor


@pytest.mark.parametrize("name", RUBBISH)
def test_a_profile_that_cannot_be_sent_is_an_error_in_the_log(
    shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """The visitor gets what the bare application says; the log names the field, never its value."""
    make, text = RUBBISH[name]
    visitor = quiet_visitor(shell, shop, profile=lambda request: make())
    assert visitor.capture().json == {"status": "anonymous"}
    assert list(visitor.jar) == ["user", IDS]
    same_as_bare(shell, visitor)
    assert visitor.pushed() == []
    assert said(caplog) == [("profile", NOT_PUSHED + text)]
    assert "canary" not in caplog.text


@pytest.mark.parametrize("name", RUBBISH)
def test_identify_with_rubbish_never_raises(
    shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """`identify()` takes anything: what cannot be sent is the same error in the log."""
    make, text = RUBBISH[name]
    visitor = quiet_visitor(shell, shop, profile=None)
    visitor.capture()
    shop.before = {"/": lambda: identify(make()), "/json": lambda: identify(make())}
    same_as_bare(shell, visitor)
    assert visitor.pushed() == []
    (code, _), *later = said(caplog)  # the capture's own look-up did not come by these views
    assert (code, later) == ("nobody", [("profile", NOT_PUSHED + text)])


def failing_payload(chatbot_id: str, session_id: str, profile: dict[str, Any]) -> Any:
    raise ValueError("a canary")


def payload_of_bytes(chatbot_id: str, session_id: str, profile: dict[str, Any]) -> Any:
    return b"canary"


@pytest.mark.parametrize(("payload", "error"), [(failing_payload, "ValueError"), (payload_of_bytes, "TypeError")])
def test_a_payload_that_cannot_be_made(
    shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture, payload: Any, error: str
) -> None:
    """A `payload=` that raises or returns no JSON is an error in the log; a sign-out goes on without its push."""
    visitor = quiet_visitor(shell, shop, payload=payload, logout_endpoint="logout", logout_routes=("/out",))
    visitor.capture()
    same_as_bare(shell, visitor)
    assert len(visitor.get("/out").cookies) == 2
    assert visitor.pushed() == []
    assert said(caplog) == [("profile", f"{NOT_PUSHED}payload= failed with {error}")]


RAISED: list[Exception] = [
    ValueError("a canary"),
    KeyError("a canary"),
    StopIteration("a canary"),
    StopAsyncIteration("a canary"),
    RecursionError("a canary"),
    MemoryError("a canary"),
    TimeoutError("a canary"),
    ExceptionGroup("a canary", [ValueError("a canary")]),
]


@pytest.mark.parametrize("keyword", ["profile", "identity", "consent"])
@pytest.mark.parametrize("error", RAISED, ids=[type(error).__name__ for error in RAISED])
def test_a_callable_that_raises_costs_the_visitor_nothing(
    shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture, keyword: str, error: Exception
) -> None:
    """The visitor gets what the bare application says; the log names callable, type and line once, never the text."""
    visitor = quiet_visitor(shell, shop)
    visitor.capture()
    broken = quiet_visitor(shell, shop, **{keyword: raising(error)})
    broken.jar = visitor.jar
    for _ in range(2):
        same_as_bare(shell, broken)
    assert broken.capture().json == {"status": "declined" if keyword == "consent" else "anonymous"}
    ((code, text),) = said(caplog)
    assert code == "raised"
    # a future refuses a StopIteration, so that one comes out of a thread under another name
    names = [type(error).__name__, *(["RuntimeError"] if isinstance(error, StopIteration) else [])]
    assert text.startswith(tuple(f"{keyword}= raised {name} at " for name in names))
    assert text.endswith("; the visitor counts as unknown")
    assert "canary" not in caplog.text
    assert len(visitor.pushed()) <= 1


@pytest.mark.parametrize("subrequest", ["/", None])
def test_a_consent_without_truth(
    shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture, subrequest: str | None
) -> None:
    """A consent that cannot be read as yes or no is none."""

    class Undecided:
        def __bool__(self) -> bool:
            raise ValueError("a canary")

    visitor = quiet_visitor(shell, shop, consent=lambda request: Undecided(), subrequest=subrequest)
    assert visitor.capture().json == {"status": "declined"}
    ((code, text),) = said(caplog)
    assert code == "raised"
    assert text.startswith("consent= raised ValueError at test_flow_harm.py:")


@pytest.mark.parametrize("subrequest", ["/", None])
def test_a_fault_of_ours_is_no_fault_of_the_applications(
    shell: ShellKind,
    shop: Shop,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    subrequest: str | None,
) -> None:
    """A mistake in this package costs the visitor nothing, is never a 5xx, and stands in the log with its line."""
    visitor = quiet_visitor(shell, shop, subrequest=subrequest)
    visitor.capture()

    def hand_over(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a canary")

    monkeypatch.setattr(exchange, "hand_over", hand_over)
    same_as_bare(shell, visitor)
    reply = visitor.capture()
    assert (reply.status, reply.json) == (200, {"status": "anonymous"})
    ((code, text),) = said(caplog)
    assert code == "internal"
    assert text.startswith("a fault of reve-middleware (ZeroDivisionError at test_flow_harm.py:")
    assert text.endswith("); the response went out as it was")
    assert "canary" not in caplog.text


def test_with_injection_a_page_is_rewritten_all_the_same(shell: ShellKind, shop: Shop) -> None:
    """A profile that fails takes nothing from the page: the tag stands where it stands for everybody."""
    stranger = shop.visitor(shell).get("/")
    visitor = shop.visitor(shell, profile=raising(ValueError()))
    visitor.capture()
    reply = visitor.get("/")
    assert (reply.status, reply.headers, reply.body) == (stranger.status, stranger.headers, stranger.body)
    assert len(reply.body) > len(PAGE)


def test_what_the_application_changes_afterwards_changes_nothing(shell: ShellKind, shop: Shop) -> None:
    """A profile is read once, at once: what happens to the dict later is not pushed."""
    shell.webhook.hold()
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    shop.people["ada"]["name"] = "somebody else"
    shell.webhook.release()
    assert visitor.pushed()[0].data == {"id": 1, "name": "Ada"}
