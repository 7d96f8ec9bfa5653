"""Real servers with several worker processes, a real webhook, and one visitor with a cookie jar."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from programs import check_installed
from workers import BOT, Site, Visitor, names_set, visit

from reve_middleware.sandbox import Sandbox
from reve_middleware.sandbox.serving import serve_asgi

PROCESSES = 4
numbers = count(1)


class Bot:
    """The stand-in for REVE, its address, and what it was told."""

    def __init__(self, sandbox: Sandbox, url: str) -> None:
        self.sandbox = sandbox
        self.environment = {
            "REVE_WEBHOOK_URL": url + sandbox.webhook_path,
            "REVE_TOKEN": sandbox.token,
            "REVE_CHATBOT_ID": sandbox.chatbot_id,
            "REVE_SECRET_KEY": "only for tests, and long enough for one",
        }

    def told(self, chat: str) -> list[dict[str, object]]:
        """The profiles it was told in this chat, oldest first; `pid` is the process that said so."""
        return [push.data for push in self.sandbox.pushes if push.session_id == chat]

    def phones(self, chat: str) -> list[object]:
        return [data["phone"] for data in self.told(chat)]


@pytest.fixture(scope="module")
def bot() -> Iterator[Bot]:
    check_installed("uvicorn")  # which serves the stand-in too
    sandbox = Sandbox(chatbot_id=BOT)
    with serve_asgi(sandbox.app) as url:
        yield Bot(sandbox, url)


@pytest.fixture(scope="module", params=["uvicorn", "gunicorn --preload"])
def four(request: pytest.FixtureRequest, bot: Bot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An ASGI or a WSGI server with 4 processes."""
    with Site(request.param, PROCESSES, bot.environment, tmp_path_factory.mktemp("four")) as site:
        yield site


@pytest.fixture(scope="module", params=["uvicorn", "gunicorn gthread"])
def one(request: pytest.FixtureRequest, bot: Bot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An ASGI or a WSGI server with one process that serves several requests at a time."""
    with Site(request.param, 1, bot.environment, tmp_path_factory.mktemp("one")) as site:
        yield site


@pytest.fixture
def visitor(four: Site) -> Iterator[Visitor]:
    with visit(four) as visitor:
        yield visitor
        four.let_all_go()


@pytest.fixture
def visitor_of_one(one: Site) -> Iterator[Visitor]:
    with visit(one) as visitor:
        yield visitor
        one.let_all_go()


@pytest.fixture
def chat() -> str:
    return f"chat-{next(numbers)}"


def responses(visitor: Visitor, each: int, turns: int) -> Counter[str]:
    """So many responses one after another, by every process in turn; how many came from which."""
    seen: Counter[str] = Counter()
    with visitor.site.all_held() as workers:
        for _ in range(turns):
            for worker in workers:
                with worker.free():
                    seen.update(visitor.get().headers["x-pid"] for _ in range(each))
    return seen


def test_one_push_however_many_responses(four: Site, bot: Bot, visitor: Visitor, chat: str) -> None:
    """200 responses to one visitor, one after another, from 4 processes, cause exactly 1 push; an edit of the
    profile exactly one more."""
    assert visitor.report(chat) == "anonymous"
    visitor.post("/login?user=ada")
    seen = responses(visitor, each=5, turns=10)
    assert list(seen.values()) == [50] * PROCESSES
    four.flush()
    assert bot.phones(chat) == ["1"]

    visitor.post("/phone?phone=2")
    responses(visitor, each=2, turns=3)
    four.flush()
    assert bot.phones(chat) == ["1", "2"]
    assert {data["id"] for data in bot.told(chat)} == {"ada"}


def test_side_by_side_at_most_one_push_per_process(four: Site, bot: Bot, visitor: Visitor, chat: str) -> None:
    """8 responses at a time right after a login cause at most one push per process."""
    visitor.report(chat)
    visitor.post("/login?user=ada")
    rest = [visitor.client.build_request("GET", "/") for _ in range(4)]
    late = [visitor.late("/hold") for _ in range(PROCESSES)]  # each in a process of its own
    answers = [four.send(visitor.client, request) for request in rest]  # and these wait for any
    pids = [int(request.finish().headers["x-pid"]) for request in late]
    pids += [int(four.result(answer).headers["x-pid"]) for answer in answers]
    assert len(set(pids)) == PROCESSES

    four.flush()
    assert sorted(data["pid"] for data in bot.told(chat)) == sorted(set(pids))  # type: ignore[type-var]
    visitor.get()
    four.flush()
    assert len(bot.told(chat)) == PROCESSES


def test_side_by_side_in_one_process_one_push(one: Site, bot: Bot, visitor_of_one: Visitor, chat: str) -> None:
    """8 responses at a time right after a login, all from one process, cause exactly 1 push."""
    visitor = visitor_of_one
    visitor.report(chat)
    visitor.post("/login?user=ada")
    first, *others = [visitor.late("/late") for _ in range(8)]
    assert names_set(first.finish()) == ["reve-mark"]
    one.flush()
    for late in others:
        assert names_set(late.finish()) == ["reve-mark"]
    one.flush()
    assert bot.phones(chat) == ["1"]


def test_a_slow_response_never_brings_back_an_older_chat(four: Site, bot: Bot, visitor: Visitor, chat: str) -> None:
    """What was asked for before a newer chat was reported, and is answered after, leaves the newer chat alone,
    whichever process answers."""
    newer = f"{chat}-newer"
    visitor.post("/login?user=ada")
    assert visitor.report(chat) == "queued"
    four.flush()
    unchanged = visitor.late("/hold")
    visitor.post("/phone?phone=2")
    edited = visitor.late("/hold")
    assert visitor.report(newer) == "queued"
    ids = visitor.ids
    assert unchanged.pid != edited.pid

    assert names_set(unchanged.finish()) == []
    assert names_set(edited.finish()) == ["reve-mark"]
    assert visitor.ids == ids
    four.flush()
    told_before = bot.phones(chat)
    assert told_before == ["1", "2"]  # the older chat is still this visitor's, so it may hear of the edit
    responses(visitor, each=1, turns=1)
    visitor.post("/phone?phone=3")
    responses(visitor, each=1, turns=1)
    four.flush()
    assert visitor.ids == ids
    assert bot.phones(chat) == told_before
    assert set(bot.phones(newer)) == {"2", "3"}


def test_a_slow_response_brings_back_nothing_after_a_sign_out(
    four: Site, bot: Bot, visitor: Visitor, chat: str
) -> None:
    """What was asked for before a sign-out in another process, and is answered after, brings no chat back, and
    whoever logs in next is not told of."""
    visitor.post("/login?user=ada")
    assert visitor.report(chat) == "queued"
    four.flush()
    unchanged = visitor.late("/hold")
    visitor.post("/phone?phone=2")
    edited = visitor.late("/hold")
    assert names_set(visitor.post("/logout")) == ["reve", "reve-mark"]
    assert visitor.ours == []

    assert names_set(unchanged.finish()) == []
    assert visitor.ours == []
    assert "reve" not in names_set(edited.finish())
    assert visitor.ids is None
    four.flush()
    told = len(bot.told(chat))
    assert told <= 2  # without an outbox another process cannot know of the sign-out

    visitor.post("/login?user=bob")
    responses(visitor, each=1, turns=1)
    four.flush()
    assert visitor.ids is None
    assert len(bot.told(chat)) == told
    assert {data["id"] for data in bot.told(chat)} == {"ada"}


def test_a_slow_response_after_a_sign_out_in_one_process(
    one: Site, bot: Bot, visitor_of_one: Visitor, chat: str
) -> None:
    """In the process that saw the sign-out a late response neither pushes its news nor sets any cookie."""
    visitor = visitor_of_one
    visitor.post("/login?user=ada")
    assert visitor.report(chat) == "queued"
    [before] = one.flush()
    visitor.post("/phone?phone=2")
    late = visitor.late("/late")
    visitor.post("/logout")

    assert names_set(late.finish()) == []
    assert visitor.ours == []
    [stats] = one.flush()
    assert bot.phones(chat) == ["1"]
    assert (stats["offered"], stats["delivered"], stats["waiting"]) == (before["offered"], before["delivered"], 0)


def test_a_slow_response_of_an_older_chat_in_one_process(
    one: Site, bot: Bot, visitor_of_one: Visitor, chat: str
) -> None:
    """In one process a late response without news sets no cookie and pushes nothing, and the newer chat stays."""
    visitor = visitor_of_one
    newer = f"{chat}-newer"
    visitor.post("/login?user=ada")
    visitor.report(chat)
    late = visitor.late("/late")
    assert visitor.report(newer) == "queued"
    one.flush()
    ids = visitor.ids

    assert names_set(late.finish()) == []
    assert visitor.ids == ids
    visitor.post("/phone?phone=2")
    visitor.get()
    one.flush()
    assert bot.phones(chat) == ["1"]
    assert bot.phones(newer) == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "workers"), [("uvicorn", 1), ("uvicorn", 4), ("gunicorn --preload", 4), ("gunicorn gthread", 1)]
)
def test_a_server_that_ends_delivers_what_waits(name: str, workers: int, bot: Bot, tmp_path: Path, chat: str) -> None:
    """On SIGTERM a server ends within 5 s, all its processes and without a traceback, and what waited in them
    is delivered."""
    with Site(name, workers, bot.environment, tmp_path) as site:
        with visit(site) as visitor, site.all_held() as held, held[0].free():
            visitor.post("/login?user=ada")
            assert visitor.report(chat) == "queued"
            visitor.post("/flush")
            visitor.post("/phone?phone=2")
            visitor.get()  # a second push to a chat within 5 s waits for the rest of them
        site.stop()
        assert bot.phones(chat)[-1] == "2"
        assert "pushes were not delivered" not in site.output


def test_a_missing_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server program is not installed, one sentence says which, and how to get it."""

    def nothing(name: str) -> Any:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    with pytest.raises(pytest.fail.Exception) as failure:
        check_installed("gunicorn")
    assert str(failure.value) == "gunicorn is missing, and these tests run it: pip install gunicorn"
