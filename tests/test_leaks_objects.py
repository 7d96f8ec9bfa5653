"""What the objects of ours show that an application can get hold of: nothing, however they are asked (contract §8)."""

import copy
import dataclasses
import gc
import json
import pickle
import pprint
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from delivering import bot, push
from drive import Asked, Last, ShellKind, Start
from faults import FaultServer, silence
from test_leaks import reachable
from watching import (
    BODY,
    CANARIES,
    EMAIL,
    KEY,
    PATH,
    PROFILE,
    SESSION,
    TOKEN,
    found_in,
    middleware,
    silent,
    wsgi_silent,
)

from reve_middleware import Bot, ReveMiddleware, SettingsError, identify
from reve_middleware.bot import Secret
from reve_middleware.capture import Captured
from reve_middleware.cookie import Ids
from reve_middleware.messages import Seen
from reve_middleware.settings import Settings
from reve_middleware.visitor import KEY as HELD
from reve_middleware.visitor import Visit

URL = f"https://reve.example{PATH}"


def profile(request: Any) -> Any:
    return PROFILE


def token() -> str:
    return TOKEN


def settings(**more: Any) -> Settings:
    """With callables of this module alone, so that nothing but our own word stops a pickler."""
    return Settings(
        {"webhook_url": URL, "token": token, "chatbot_id": "b", "secret_key": KEY, "profile": profile, **more}
    )


def said() -> Visit:
    visit = Visit()
    visit.profile = PROFILE
    return visit


THINGS: dict[str, Callable[[], Any]] = {
    "settings": settings,
    "bot": lambda: Bot(webhook_url=URL, token=token, chatbot_id="b"),
    "secret": lambda: Secret(TOKEN),
    "push": lambda: push(SESSION, BODY),
    "found": lambda: Seen(EMAIL, by_version=False, profile=None),
    "cookies": lambda: settings().cookies,
    "hasher": lambda: settings().hasher,
    "middleware": lambda: middleware(silent, URL, profile=profile),
    "sender": lambda: middleware(silent, URL, profile=profile)._sender,
    "core": lambda: middleware(silent, URL, profile=profile)._core,
}
SHOWN: dict[str, Callable[[Any], Any]] = {
    "repr": repr,
    "str": str,
    "format": lambda thing: f"{thing} {thing!r} {thing!a}",
    "pprint": pprint.pformat,
    "json": lambda thing: json.dumps(thing, default=repr),
    "vars": lambda thing: repr(vars(thing)),
    "dir": dir,
}


@pytest.mark.parametrize("name", THINGS)
def test_nothing_is_pickled(name: str) -> None:
    """What holds a secret, a profile or a key refuses every protocol of pickle, with a reason or for its locks' sake,
    and shows nothing in its refusal."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises((TypeError, pickle.PicklingError, AttributeError)) as refused:
            pickle.dumps(THINGS[name](), protocol)
        assert found_in(str(refused.value)) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("settings", "settings are not pickled: they hold secrets"),
        ("bot", "a secret is not pickled"),
        ("secret", "a secret is not pickled"),
        ("push", "a push is not pickled: it holds what a visitor's chat is told"),
        ("found", "what was found of a visitor is not pickled"),
        ("cookies", "cookies are not pickled: they hold the secret key"),
        ("hasher", "a hasher is not pickled: it holds the secret key"),
    ],
)
def test_who_refuses_says_why(name: str, reason: str) -> None:
    """Each refusal is one plain sentence."""
    with pytest.raises(TypeError) as refused:
        pickle.dumps(THINGS[name]())
    assert str(refused.value) == reason


@pytest.mark.parametrize("how", SHOWN)
@pytest.mark.parametrize("name", [*THINGS, "visit"])
def test_nothing_is_shown(name: str, how: str) -> None:
    """`repr`, `str`, formats, pprint, json, `vars` and `dir` show no canary, or refuse."""
    thing = said() if name == "visit" else THINGS[name]()
    try:
        shown = str(SHOWN[how](thing))
    except TypeError as refused:
        shown = str(refused)
    assert found_in(shown) == []


def test_ids_are_not_shown() -> None:
    """Where a chat's id is among the locals of a frame, it is not shown there."""
    assert repr(Ids("b", SESSION, 1)) == "<Ids of a chat of b>"
    assert repr(Captured(SESSION, "b")) == "<Captured a chat of b>"


@pytest.mark.parametrize("wsgi", [False, True], ids=["asgi", "wsgi"])
def test_no_vars_of_anything_show_token_or_profile(wsgi: bool) -> None:
    """`vars` of whatever can be reached from a middleware, with pushes waiting and in flight, shows neither token,
    link nor profile. (Chats are told apart by their ids, which stand in its dictionaries: that is its memory.)"""
    with FaultServer(default=silence, path=PATH) as server:
        app = wsgi_silent if wsgi else silent
        wrapped = middleware(app, server.url, wsgi=wsgi, bots=[bot("b", server.url, TOKEN)], profile=profile)
        for urgent in (False, True):
            wrapped._sender.offer(push(SESSION, BODY, urgent=urgent))
            server.wait_for(1)
        shown = [(type(one).__name__, repr(vars(one))) for one in reachable(wrapped) if hasattr(one, "__dict__")]
        assert {"Sender", "Mailbox", "Run", "Core"} <= {name for name, _ in shown}
        hidden = set(CANARIES) - {SESSION}
        assert [(name, text) for name, text in shown if hidden & {*found_in(text)}] == []
        wrapped.close(0)


def test_an_application_that_copies_or_pickles_its_request(shell: ShellKind) -> None:
    """The holder in the scope or environ does not stand in the way of an application that copies or pickles what it
    was handed: a copy is the same holder, and a pickle takes nothing of ours along."""
    came: list[Any] = []

    def app(asked: Asked) -> Any:
        identify(PROFILE)
        visit = asked.raw[HELD]
        came.append((copy.deepcopy({"it": visit})["it"] is visit, pickle.dumps(visit)))
        loaded = pickle.loads(came[-1][1])
        came.append(all(getattr(loaded, name) == getattr(Visit(), name) for name in ("mount", "path", "profile")))
        yield Start(200, [("Content-Type", "text/html")])
        yield Last(b"")

    visitor = shell.site(app)
    assert visitor.get("/").status == 200
    (same, pickled), empty = came
    assert same
    assert empty
    assert found_in(pickled.decode("latin-1")) == []


def test_dataclasses_fields_are_not_walked() -> None:
    """What walks the fields of dataclasses, as some printers of tracebacks do, is told to leave the secret ones out."""
    fields = {field.name: field.repr for field in dataclasses.fields(Bot)}
    assert [name for name, shown in fields.items() if not shown] == ["webhook_url", "token"]
    one = Bot(webhook_url=URL, token=TOKEN, chatbot_id="b")
    assert found_in(str(dataclasses.replace(one, endpoint="e"))) == []
    assert found_in(repr({name: getattr(one, name) for name in fields})) == []


def test_a_shell_that_is_not_built_yet() -> None:
    """A shell in the traceback of a mistake about its application has a `repr` already, and no frame a secret."""
    with pytest.raises(SettingsError) as caught:
        ReveMiddleware(7, webhook_url=URL, token=TOKEN, chatbot_id="b", secret_key=KEY)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    shown = "".join(repr(value) for frame in frames for value in frame.f_locals.values())
    assert "<ReveMiddleware around NoneType, None>" in shown
    assert found_in(shown) == []


def test_no_thread_is_named_after_anybody() -> None:
    """Thread and task names, which dumps print, hold no ids."""
    with FaultServer(default=silence, path=PATH) as server:
        wrapped: ReveMiddleware = middleware(silent, server.url)
        wrapped._sender.offer(push(SESSION, BODY))
        server.wait_for(1)
        tasks = [one for one in gc.get_objects() if type(one).__name__ == "Task"]
        names = [thread.name for thread in threading.enumerate()] + [repr(one) for one in tasks]
        assert found_in(" ".join(names)) == []
        wrapped.close(0)
