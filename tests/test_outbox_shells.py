"""Both shells with `outbox=`: what a response may rely on, and what a visitor never notices."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from delivering import listening
from drive import KEYWORDS, Call, ShellKind, Visitor, Webhook, asgi_app, page, scope_of, side_by_side
from outboxes import UNUSABLE, rows

from reve_middleware import ReveMiddleware, clock, database, delivery, sign_out

PERSON = {"id": "7", "name": "Ada"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite3"


def waiting(path: Path) -> list[tuple[str, bool]]:
    """What stands in the file now: whose bot it is for, and whether it is in flight."""
    return [(row.bot, row.in_flight) for row in rows(path, clock.now(), time.time())]


def at_the_start(kind: ShellKind, application: Any, look: Callable[[], None]) -> Any:
    """A layer around ours that looks when a response begins to leave it."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        async def outgoing(message: Any) -> None:
            if message["type"] == "http.response.start":
                look()
            await send(message)

        await application(scope, receive, outgoing)

    def wsgi(environ: Any, start_response: Any) -> Any:
        def start(*arguments: Any) -> Any:
            look()
            return start_response(*arguments)

        return application(environ, start)

    return asgi if kind.name == "asgi" else wsgi


def test_stored_before_the_response_is_marked(shell: ShellKind, path: Path) -> None:
    """When a response that marks a hand-over begins to leave, the push stands in the file: a page's and a capture's."""
    shell.webhook.hold()
    person = dict(PERSON)
    middleware = shell.wrap(shell.application(page()), outbox=path, profile=lambda request: dict(person))
    seen: list[list[tuple[str, bool]]] = []
    visitor = Visitor(at_the_start(shell, middleware, lambda: seen.append(waiting(path))), shell)
    assert visitor.capture().json == {"status": "queued"}
    shell.webhook.wait_for(1)
    person["name"] = "Ada L."
    reply = visitor.get("/")
    assert "__Host-reve-mark" in reply.cookies
    for found in seen:
        assert [bot for bot, _ in found] == ["bot"]
    assert seen[1] == [("bot", False)], "the newer one waits behind the one in flight"
    shell.webhook.release()
    middleware.close(20.0)
    assert [posted.data for posted in shell.webhook.posts] == [PERSON]
    assert waiting(path) == [("bot", False)]


def test_once_on_a_machine(shell: ShellKind, path: Path) -> None:
    """Responses of one visitor that run side by side in two processes push a profile once."""
    workers = [
        Visitor(shell.wrap(shell.application(page()), outbox=path, profile=lambda request: PERSON), shell)
        for _ in range(2)
    ]
    anonymous = shell.site(outbox=path, profile=lambda request: None)
    assert anonymous.capture().json == {"status": "anonymous"}
    for worker in workers:
        worker.jar = dict(anonymous.jar)
    replies = side_by_side([lambda w=worker: w.get("/") for worker in workers])  # type: ignore[misc]
    marks = {reply.cookies["__Host-reve-mark"].partition(";")[0] for reply in replies}
    assert len(marks) == 1
    for worker in workers:
        worker.pushed()
    assert [posted.data for posted in shell.webhook.posts] == [PERSON]


def test_what_a_dead_process_left_is_sent_by_the_next(
    shell: ShellKind, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed process left is sent by a new one as soon as it serves anybody, without another push."""
    monkeypatch.setattr(delivery, "_random", SimpleNamespace(random=lambda: 1.0))  # the longest of waits
    shell.webhook.answers.append(503)
    first = shell.site(outbox=path, profile=lambda request: PERSON)
    first.capture()
    first.pushed()
    assert waiting(path) == [("bot", False)]
    second = shell.site(outbox=path, profile=lambda request: None)
    second.get("/")
    assert shell.webhook.wait_for(2)[1].data == PERSON


def test_signed_out_on_a_machine(shell: ShellKind, path: Path) -> None:
    """After a sign-out in one process, no other sends what waits, nor takes a late response's push."""

    def shop(asked: Any) -> Any:
        if asked.path == "/logout":
            sign_out()
        yield from page()(asked)

    person = dict(PERSON)
    keywords = {"outbox": path, "profile": lambda request: dict(person)}
    shell.webhook.answers.append((503, {"Retry-After": "300"}))  # longer than the test
    one = shell.site(shop, **keywords)
    other = Visitor(shell.wrap(shell.application(shop), **keywords), shell)
    one.capture()
    one.pushed()
    assert len(waiting(path)) == 1
    late = Visitor(other.middleware, shell)
    other.jar, late.jar = dict(one.jar), dict(one.jar)
    other.get("/logout")
    assert waiting(path) == []
    person["name"] = "Ada L."
    assert "set-cookie" not in dict(late.get("/").headers)
    assert [len(visitor.pushed()) for visitor in (one, other)] == [1, 1]


@pytest.mark.parametrize("content", [b"garbage " * 100, b""], ids=["garbage", "locked"])
def test_a_bad_file_costs_no_page(
    shell: ShellKind, path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a broken or locked file every page is served and marked, the bot hears all of it, and one error says why."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.02)
    path.write_bytes(content)
    person = dict(PERSON)
    with listening() as log, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        if not content:
            db.execute("BEGIN EXCLUSIVE")
        visitor = shell.site(outbox=path, profile=lambda request: dict(person))
        assert visitor.capture().json == {"status": "queued"}
        shell.webhook.wait_for(1)
        person["name"] = "Ada L."
        reply = visitor.get("/")
        assert (reply.status, "__Host-reve-mark" in reply.cookies) == (200, True)
        assert [posted.data["name"] for posted in visitor.pushed()] == ["Ada", "Ada L."]
        why = "file is not a database" if content else "database is locked"
        assert log.texts() == [UNUSABLE % why]


def test_a_slow_disk_blocks_no_event_loop(path: Path) -> None:
    """While one response waits for the disk, the event loop serves others."""
    webhook = Webhook()
    app = ReveMiddleware(asgi_app(page()), **KEYWORDS, client=webhook, outbox=path, profile=profile)
    kind = ShellKind("asgi")
    visitor = Visitor(app, kind)
    visitor.capture()
    webhook.wait_for(1)
    app.close(20.0)
    headers = [("Cookie", "; ".join(f"{name}={value}" for name, value in visitor.jar.items()))]
    NAMES.append("Ada L.")

    async def main(db: sqlite3.Connection) -> None:
        pushes = asyncio.create_task(get(app, headers))
        for _ in range(50):
            messages = await get(app, [])
            assert messages[0]["status"] == 200
        assert not pushes.done()
        db.execute("ROLLBACK")
        assert any(name == b"set-cookie" for name, _ in (await pushes)[0]["headers"])

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        asyncio.run(main(db))
    assert waiting(path) == [("bot", False)]
    app.close(20.0)


NAMES = ["Ada"]


async def profile(request: Any) -> dict[str, str]:
    return {"id": "7", "name": NAMES[-1]}


async def get(app: Any, headers: list[tuple[str, str]]) -> list[Any]:
    """One request in the running event loop; the messages of its response."""
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope_of(Call("GET", "/", headers)), receive, send)
    return messages
