"""`REVE` in Django's settings: what it may hold, what is said about mistakes, and the system checks."""

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.handlers.wsgi import WSGIHandler
from django.test.utils import override_settings
from django_world import OURS, Kind, in_capitals, with_people
from drive import KEY, KEYWORDS, PAGE

from reve_middleware import Bot, ReveError, SettingsError
from reve_middleware.django import ReveMiddleware, middleware

REVE = in_capitals(KEYWORDS)
MISSING = object()
NEEDED = 'it must be a dict such as {"WEBHOOK_URL": "https://…", "PROFILE": "site.reve.profile"}'


def profile(request: Any) -> Any:
    return {"id": 1}


def two(a: Any, b: Any) -> None: ...


class Chosen:
    """A callable object, as sites have them."""

    def __call__(self, request: Any) -> Any:
        return {"id": 2}


chosen = Chosen()


def payload(chatbot_id: str, session_id: str, data: Any) -> Any:
    return {"who": data["id"]}


@pytest.fixture(params=["django-asgi", "django-wsgi"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    kind = Kind(request.param)
    yield kind
    kind.close()


def page(request: Any) -> Any:
    from django.http import HttpResponse

    return HttpResponse(PAGE)


# What it may hold ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reve", "body"),
    [
        ({"profile": profile}, b'{"botId":"bot","sessionId":"s-1","data":{"id":1}}'),
        ({"profile": "test_django_settings.profile"}, b'{"botId":"bot","sessionId":"s-1","data":{"id":1}}'),
        ({"profile": "test_django_settings.chosen"}, b'{"botId":"bot","sessionId":"s-1","data":{"id":2}}'),
        ({"profile": profile, "payload": "flat"}, b'{"botId":"bot","id":1,"sessionId":"s-1"}'),
        ({"profile": profile, "payload": "test_django_settings.payload"}, b'{"who":1}'),
    ],
)
def test_callables_and_their_names(kind: Kind, reve: dict[str, Any], body: bytes) -> None:
    """A callable may be given as itself or by its dotted name, which settings can hold before there are models."""
    visitor = kind.visitor(page, [OURS], **reve)
    visitor.capture()
    assert [post.body for post in visitor.pushed()] == [body]


def test_what_the_environment_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """REVE_… in the environment stands in for what `REVE` leaves out, and for all of it."""
    for name in ("webhook_url", "token", "chatbot_id", "secret_key"):
        monkeypatch.setenv(f"REVE_{name.upper()}", KEYWORDS[name])
    for reve in ({}, None, MISSING):
        with settings_with(reve):
            assert repr(ReveMiddleware(page)) == "<ReveMiddleware of Django, <Settings for bot>>"
            assert run_checks(tags=["reve"]) == []


def test_bots_and_their_tokens(kind: Kind) -> None:
    """`BOTS` is a list of `Bot(…)`; the callable of each one's token is asked."""
    with_people()
    bots = [Bot(webhook_url=f"https://reve.example/{one}", token=lambda: "t", chatbot_id=one) for one in ("a", "b")]
    visitor = kind.visitor(page, [OURS], bots=bots, profile=profile)
    visitor.capture(chatbot_id="b")
    (post,) = visitor.pushed()
    assert (post.url, post.headers["authorization"]) == ("https://reve.example/b", "Bearer t")


@pytest.mark.parametrize("manner", ["sync", "async", "both"])
def test_a_task_queue(kind: Kind, manner: str) -> None:
    """`HANDOFF` may be sync or async under either protocol; it runs in the request's own thread or task."""
    from asgiref.sync import sync_to_async
    from django_world import User

    with_people()
    taken: list[Any] = []

    def hand_off(push: dict[str, Any]) -> None:
        taken.append((push["session_id"], User.objects.filter(username="ada").exists()))

    async_hand_off = sync_to_async(hand_off)
    manners = {"sync": hand_off, "async": async_hand_off, "both": lambda push: async_hand_off(push)}
    given: Callable[[Any], Any] = manners[manner]
    visitor = kind.visitor(page, [OURS], handoff=given, profile=profile)
    assert visitor.capture().json == {"status": "queued"}
    assert taken == [("s-1", True)]


def test_stats_and_close() -> None:
    """`middleware()` gives what the process's middleware runs on; before Django has made it there is none."""
    with override_settings(REVE=REVE):
        with pytest.raises(ReveError, match=r"^Django has made no ReveMiddleware in this process yet$"):
            middleware()
        ReveMiddleware(page)
        assert middleware().stats()["offered"] == 0
        middleware().close()


# Mistakes --------------------------------------------------------------------------------------


def settings_with(reve: Any, **others: Any) -> Any:
    changed = override_settings(**({} if reve is MISSING else {"REVE": reve}), **others)
    if reve is not MISSING:
        return changed

    class Without(override_settings):  # type: ignore[misc]
        def enable(self) -> None:
            super().enable()
            from django.conf import settings

            del settings.REVE

    return Without(**others)


WRONG: list[tuple[Any, str]] = [
    (
        {**REVE, "CHATBOT_ID": "a b"},
        "REVE[\"CHATBOT_ID\"]='a b' is wrong: it must be the bot's id, 1 to 128 visible characters",
    ),
    (
        {name: value for name, value in REVE.items() if name != "WEBHOOK_URL"},
        'REVE["WEBHOOK_URL"] is missing: it must be the bot\'s webhook link, https://… '
        "(or set REVE_WEBHOOK_URL in the environment)",
    ),
    (
        {**REVE, "TOKEN": "two words"},
        'REVE["TOKEN"] has blanks, line ends or characters that no header can carry: paste it anew',
    ),
    ({**REVE, "PROFIL": profile}, "REVE has no key 'PROFIL'; did you mean 'PROFILE'?"),
    ({**REVE, "profile": profile}, "REVE has no key 'profile'; did you mean 'PROFILE'?"),
    ({**REVE, 1: 2}, "REVE has no key 1"),
    ([REVE], f"REVE is a list: {NEEDED}"),
    ({**REVE, "PROFILE": 5}, 'REVE["PROFILE"]=5 is wrong: it must be a callable of one argument'),
    ({**REVE, "PROFILE": two}, 'REVE["PROFILE"]=two(a, b) is wrong: it is called with one argument'),
    (
        {**REVE, "PROFILE": "test_django_settings.nothing"},
        "REVE[\"PROFILE\"]='test_django_settings.nothing' cannot be imported: "
        'Module "test_django_settings" does not define a "nothing" attribute/class',
    ),
    (
        {**REVE, "IDENTITY": "no_such_module.identity"},
        "REVE[\"IDENTITY\"]='no_such_module.identity' cannot be imported: No module named 'no_such_module'",
    ),
    ({**REVE, "CONSENT": "yes"}, "REVE[\"CONSENT\"]='yes' cannot be imported: yes doesn't look like a module path"),
    ({**REVE, "BOTS": [1]}, 'REVE["WEBHOOK_URL"] and bots are both given: put webhook_url into a Bot(…) of the list'),
    (
        {"BOTS": [1], "SECRET_KEY": KEY},
        'REVE["BOTS"] is wrong: it must be a list of Bot(webhook_url=…, token=…, chatbot_id=…)',
    ),
]


@pytest.mark.parametrize(("reve", "text"), WRONG, ids=[text[:40] for _, text in WRONG])
def test_a_mistake_is_named(reve: Any, text: str) -> None:
    """A wrong setting is one `SettingsError` when the handler is made, and one error of `manage.py check`, which name
    the key, its value (never a secret's), and what would be right."""
    with settings_with(reve, MIDDLEWARE=[OURS]):
        with pytest.raises(SettingsError) as caught:
            WSGIHandler()
        assert str(caught.value) == text
        (message,) = run_checks(tags=["reve"])
        assert (message.id, message.msg) == ("reve.E002", text)
        assert message.hint == "docs/reference/keywords.md says what is right."


@pytest.mark.parametrize("reve", [MISSING, None])
def test_no_settings_at_all(reve: Any) -> None:
    """Without `REVE` the check says how to begin, and the handler what is missing."""
    with settings_with(reve, MIDDLEWARE=[OURS]):
        (message,) = run_checks(tags=["reve"])
        assert (message.id, message.msg) == ("reve.E001", "REVE is missing from Django's settings")
        assert message.hint == f"REVE: {NEEDED}."
        with pytest.raises(SettingsError, match=r"^settings are missing: webhook_url, token, .*in capitals, in REVE"):
            WSGIHandler()


@pytest.mark.parametrize("change", [{"CHATBOT_ID": "a b"}, {"PROFIL": 1}, {"PROFILE": "no.such"}])
def test_no_frame_of_a_mistake_holds_a_secret(change: dict[str, Any]) -> None:
    """An error tracker that shows the locals of every frame sees neither token nor key."""
    with override_settings(REVE={**REVE, "TOKEN": "canary-token", "SECRET_KEY": "canary-key" * 4, **change}):
        with pytest.raises(SettingsError) as caught:
            ReveMiddleware(page)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        frames = [frame for frame in shown.stack if "reve_middleware" in frame.filename]
        assert frames
        assert "canary" not in str([frame.locals for frame in frames])
        assert caught.value.__context__ is None


def test_secrets_are_not_shown() -> None:
    """Neither the middleware nor what it runs on shows a secret."""
    with override_settings(REVE={**REVE, "TOKEN": "canary-token", "SECRET_KEY": "canary-key" * 4}):
        made = ReveMiddleware(page)
        assert "canary" not in f"{made!r} {middleware()!r} {vars(made)}"
