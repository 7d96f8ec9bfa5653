"""The test kit's stand-in: what it hears is settled, what only takes time is skipped, and no test sees another's."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from visiting import ADA, GRACE, Shop, address, reve

from reve_middleware import clock
from reve_middleware.testing import Reve, Visitor, stand_in
from reve_middleware.testing_standin import Address

__all__ = ["address", "reve"]


def in_chat(reve: Reve, shop: Shop, **keywords: Any) -> tuple[TestClient, Visitor]:
    """A client, and its visitor, whose chat has begun."""
    client = TestClient(shop.asgi(**{**reve.settings, **keywords}))
    visitor: Visitor = reve.visitor(client)
    visitor.chat()
    return client, visitor


def statuses(reve: Reve) -> list[int]:
    return [request.status for request in reve.requests]


@pytest.mark.parametrize("outbox", [False, True])
def test_the_seconds_between_two_pushes_are_skipped(reve: Reve, outbox: bool, tmp_path: Path) -> None:
    """At most one push per chat in five seconds: a test does not wait for them, and in an outbox neither."""
    shop = Shop()
    shop.person = ADA
    client, visitor = in_chat(reve, shop, **({"outbox": tmp_path / "outbox"} if outbox else {}))
    began = time.monotonic()
    for number in range(4):
        shop.person = {**ADA, "plan": number}
        client.get("/")
        assert visitor.knows == shop.person
    assert [push.data.get("plan") for push in reve.pushes] == [None, 0, 1, 2, 3]
    assert time.monotonic() - began < 5
    shop.made[0].close(0)


def test_what_would_be_one_push_is_one(reve: Reve) -> None:
    """Two changes within the five seconds are one push, the newest, as on the live site."""
    shop = Shop()
    shop.person = ADA
    client, _ = in_chat(reve, shop)
    assert len(reve.pushes) == 1
    for plan in ("small", "large"):
        shop.person = {**ADA, "plan": plan}
        client.get("/")
    assert [push.data.get("plan") for push in reve.pushes] == [None, "large"]


@pytest.mark.parametrize(("times", "retry_after"), [(1, None), (7, 60), (7, "not a number")])
def test_a_bot_that_fails_for_a_while(reve: Reve, times: int, retry_after: Any) -> None:
    """Failures that end are gone through, gates and back-off and `Retry-After` included, without waiting for them."""
    shop = Shop()
    shop.person = ADA
    began = time.monotonic()
    reve.misbehave(status=503, retry_after=retry_after, times=times)
    in_chat(reve, shop)
    in_chat(reve, shop)
    assert [push.data for push in reve.pushes] == [ADA, ADA]
    assert sorted(statuses(reve)) == [200, 200, *[503] * times]
    assert time.monotonic() - began < 10


def test_a_bot_that_fails_for_too_long(reve: Reve) -> None:
    """A push that is ten minutes old is given up here too."""
    shop = Shop()
    shop.person = ADA
    reve.misbehave(status=503, retry_after=300, times=3)
    in_chat(reve, shop)
    assert reve.pushes == []
    assert shop.made[0].stats()["dropped"] == {"expired": 1}


def test_a_bot_that_is_down(reve: Reve) -> None:
    """Failures that do not end are looked at once; what waits is kept, and sent when the bot behaves again."""
    shop = Shop()
    shop.person = ADA
    reve.misbehave(status=500)
    _, visitor = in_chat(reve, shop)
    assert reve.pushes == []
    assert visitor.knows is None
    assert statuses(reve) == [500]
    reve.behave()
    assert visitor.knows == ADA
    assert statuses(reve) == [500, 200]


def test_a_bot_that_is_slow(reve: Reve) -> None:
    """An answer that is held back is waited for; one that is held back too long is an attempt that failed."""
    shop = Shop()
    shop.person = ADA
    reve.misbehave(seconds=0.05, times=1)
    _, visitor = in_chat(reve, shop, timeout=0.3)
    assert visitor.knows == ADA
    assert shop.made[0].stats()["attempts"] == {"status_200": 1}
    reve.misbehave(status=200, seconds=30)
    assert visitor.new_chat() == "queued"
    assert len(reve.pushes) == 1
    assert shop.made[0].stats()["attempts"] == {"status_200": 1, "timeout": 1}


def test_a_slow_bot_holds_up_neither_site_nor_visitor(reve: Reve) -> None:
    """While answers are held back, `chat()` returns as soon as the site has answered."""
    shop = Shop()
    shop.person = ADA
    reve.misbehave(seconds=30)
    _, visitor = in_chat(reve, shop)
    stats = shop.made[0].stats()
    assert stats["waiting"] + stats["in_flight"] == 1
    reve.behave()
    assert visitor.knows == ADA


def test_the_last_answer_that_is_held_back_is_not_waited_for(reve: Reve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the misbehaviour is over with it: whether `chat()` waits does not hang on who is faster."""
    settled = []
    monkeypatch.setattr(reve, "settle", lambda: settled.append(len(reve.sandbox.held)))
    reve.misbehave(seconds=30, times=1)
    reve.sandbox.receive("POST", "/", {}, b"")
    assert reve.sandbox.misbehaviour is None
    reve.listen()
    assert settled == []
    reve.behave()
    reve.listen()
    assert settled == [0]


def test_no_time_is_skipped_while_an_answer_is_awaited(reve: Reve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits and leases of what is under way do not run out, however long something else would wait."""
    spaced, awaited = Shop(), Shop()
    spaced.person, awaited.person = ADA, GRACE
    client, visitor = in_chat(reve, spaced)
    spaced.person = {**ADA, "plan": "large"}
    client.get("/")
    reve.misbehave(seconds=30, times=1)
    in_chat(reve, awaited)
    reve.sandbox.wait_for_pushes(2)
    skipped = clock.now() - time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr("reve_middleware.testing_standin.SETTLE_SECONDS", 0.05)
        with pytest.raises(AssertionError, match="1 pushes under way, 1 wait"):
            reve.settle()
    assert clock.now() - time.monotonic() == pytest.approx(skipped, abs=1)
    reve.behave()
    assert visitor.knows == spaced.person
    assert clock.now() - time.monotonic() > skipped + 1


def test_a_push_that_is_refused(reve: Reve) -> None:
    """A push that is refused for itself is dropped, and stops no other."""
    shop = Shop()
    shop.person = ADA
    client, visitor = in_chat(reve, shop)
    reve.misbehave(status=422)
    shop.person = GRACE | {"id": 7}
    client.get("/")
    assert len(reve.pushes) == 1
    assert statuses(reve) == [200, 422]
    reve.behave()
    assert visitor.new_chat() == "queued"
    assert visitor.knows == shop.person


def test_a_token_that_is_rotated(reve: Reve) -> None:
    """`reve.settings` follows the rotation, with one request that is refused; a token that is text does not, and is
    refused until pytest ends or the site is built anew."""
    shop = Shop()
    shop.person = ADA
    _, visitor = in_chat(reve, shop)
    assert visitor.knows == ADA
    reve.rotate_token()
    visitor.new_chat()
    assert visitor.knows == ADA
    assert statuses(reve) == [200, 401, 200]

    _, other = in_chat(reve, shop, token=reve.environment["REVE_TOKEN"])
    assert other.knows is None
    assert statuses(reve) == [200, 401, 200, 401]


def test_every_push_and_its_endpoint(reve: Reve) -> None:
    """`pushes` tells chat, bot, endpoint and data; `wait_for` returns them; `knows` is None for who has signed out."""
    shop = Shop()
    shop.person = ADA
    more = {"endpoint": "login", "logout_endpoint": "logout", "logout_routes": ("/old",)}
    client, visitor = in_chat(reve, shop, **more)
    client.get("/old", follow_redirects=False)
    pushes = reve.wait_for(2)
    assert [(push.session_id, push.bot_id, push.endpoint, push.data) for push in pushes] == [
        (visitor.session_id, reve.chatbot_id, "login", ADA),
        (visitor.session_id, reve.chatbot_id, "logout", {}),
    ]
    assert visitor.knows is None
    assert reve.knows("a chat of nobody's") is None


def test_a_task_queue_is_not_waited_for(reve: Reve) -> None:
    """With `handoff=` the queue sends: the test has its tasks, and the bot has heard nothing."""
    shop, tasks = Shop(), []
    shop.person = ADA
    _, visitor = in_chat(reve, shop, handoff=tasks.append)
    assert (len(tasks), reve.pushes, visitor.knows) == (1, [], None)


def test_no_test_sees_what_another_left(address: Address) -> None:
    """A site that lives through several tests, as one that is built at import, brings nothing from one into the next:
    neither what it had heard nor a push that waited, a bot that was down nor a token that was changed."""
    shop = Shop()
    shop.person = ADA
    first = Reve(address)
    client, _ = in_chat(first, shop, token=first.environment["REVE_TOKEN"])
    assert len(first.pushes) == 1
    first.misbehave(status=503)
    first.rotate_token()
    shop.person = GRACE | {"id": 7}
    client.get("/")
    assert len(first.pushes) == 1
    first.close()
    assert shop.made[0].stats()["waiting"] == 0

    second = Reve(address)
    assert (second.pushes, second.requests, second.said()) == ([], [], [])
    assert second.visitor(client).chat() == "queued"
    assert [push.data for push in second.pushes] == [shop.person]
    assert len(first.sandbox.pushes) == 1
    second.close()


def test_an_older_sites_outbox_may_be_gone(address: Address, tmp_path: Path) -> None:
    """A site of a test before is not asked, unless it is used: its outbox's folder is deleted by now."""
    folder = tmp_path / "gone"
    folder.mkdir()
    shop = Shop()
    shop.person = ADA
    first = Reve(address)
    _, visitor = in_chat(first, shop, outbox=folder / "outbox")
    assert visitor.knows == ADA
    first.close()
    shop.made[0].close(0)
    shutil.rmtree(folder)
    second = Reve(address)
    assert (second.pushes, second.said()) == ([], [])
    second.close()


def test_a_bot_that_hangs_does_not_hold_the_end_back(address: Address) -> None:
    """What is held back when a test ends is let go at once."""
    shop = Shop()
    shop.person = ADA
    reve = Reve(address)
    reve.misbehave(seconds=30)
    in_chat(reve, shop)
    began = time.monotonic()
    reve.close()
    assert time.monotonic() - began < 5
    assert shop.made[0].stats()["in_flight"] == 0


def test_a_sender_that_does_not_come_to_an_end_is_closed(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the test is over, a sender that is not done in time is closed."""
    monkeypatch.setattr("reve_middleware.testing_standin.LAST_SECONDS", 0.0)
    shop = Shop()
    shop.person = ADA
    reve = Reve(address)
    monkeypatch.setattr(reve, "behave", lambda: None)
    reve.misbehave(seconds=30)
    in_chat(reve, shop)
    reve.sandbox.wait_for_pushes(1)
    reve.close()
    assert shop.made[0].stats()["dropped"] == {"closed": 1}
    reve.sandbox.behave()


def test_without_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """`stand_in()` is the same for unittest and for scripts; the environment stays as it is."""
    monkeypatch.setenv("REVE_TOKEN", "the site's own")
    shop = Shop()
    shop.person = ADA
    with stand_in() as reve:
        assert in_chat(reve, shop)[1].knows == ADA
        assert reve.environment["REVE_TOKEN"] != "the site's own"
