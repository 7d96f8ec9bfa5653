"""The capture endpoint under fire: always one of the fixed answers, never a 5xx (contract §3; THREATS T12 to T14)."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from drive import Asked, Last, ShellKind, Start, Visitor
from security_fire import GOOD_BODY, GOOD_HEAD, Shot, Target, fire, judge, judge_page
from shop import Shop

EXAMPLES = 150
CHATS, OTHERS = 120, 20


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    made = Target(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("what", ["bytes", "headers", "chunking"])
def test_whatever_comes_the_answer_is_a_fixed_one(target: Target, what: str) -> None:
    """Whatever the bytes, the headers and the pieces of a report, the answer is 200 with one word or a fixed problem
    text, no exception reaches the server, and nothing of the report is in the answer."""
    seen = fire(target, what, EXAMPLES)
    assert sum(seen.values()) >= EXAMPLES
    assert set(seen) <= {200, 400, 403, 405, 413, 415, 422}
    assert target.shoot(Shot()) == 200


NASTY: dict[str, tuple[Shot, int]] = {
    "a good one": (Shot(), 200),
    "2,048 open brackets": (Shot(body=b"[" * 2048), 400),
    "400 open objects": (Shot(body=b'{"x":' * 400), 400),
    "2,000 digits": (Shot(body=b"9" * 2000), 400),
    "an exponent": (Shot(body=GOOD_BODY[:-1] + b', "x": 1e999999999}'), 200),
    "a lone surrogate": (Shot(body=GOOD_BODY.replace(b"s-1", b"\\ud800")), 422),
    "NUL in an id": (Shot(body=GOOD_BODY.replace(b"s-1", b"s\\u00001")), 422),
    "a header in an id": (Shot(body=GOOD_BODY.replace(b"s-1", b"s\\r\\nSet-Cookie: a=b")), 422),
    "2,048 bytes": (Shot(body=GOOD_BODY.ljust(2048)), 200),
    "2,049 bytes": (Shot(body=GOOD_BODY.ljust(2049)), 413),
    "2,049 bytes, in pieces": (Shot(body=GOOD_BODY.ljust(2049), cuts=list(range(0, 2049, 7)), quirk="marked end"), 413),
    "empty pieces": (Shot(cuts=[1, 2, 3], quirk="empty pieces"), 200),
    "it breaks off": (Shot(cuts=[20], quirk="breaks off"), 400),
}


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_report(target: Target, name: str) -> None:
    """What is known to break other parsers breaks none of ours."""
    shot, status = NASTY[name]
    assert target.shoot(shot) == status


def test_a_whole_report_of_which_more_was_promised() -> None:
    """A client that goes away before the length it promised has captured nothing, though what came would do."""
    target = Target("wsgi")
    try:
        assert target.shoot(Shot(length="42")) == 200
        assert target.shoot(Shot(length="43")) == 400
    finally:
        target.close()


def test_whatever_stands_in_the_cookies_the_page_goes_out(target: Target) -> None:
    """Whatever stands in a request's headers, the application's page goes out whole and sets nothing of ours."""
    assert set(fire(target, "pages", EXAMPLES)) == {200}


BAD_ANSWERS: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {
    "a server error": (500, [], b'{"status": "queued"}'),
    "an echo": (400, [], b'{"detail": "s-1"}'),
    "a cookie on a refusal": (403, [("set-cookie", "a=b")], b""),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_the_judge_can_condemn(name: str) -> None:
    """An answer that is not one of the fixed ones is seen."""
    with pytest.raises((AssertionError, KeyError)):
        judge(Shot(), *BAD_ANSWERS[name])
    with pytest.raises(AssertionError):
        judge_page(Shot(), 200, [("content-type", "text/html"), ("set-cookie", "__Host-reve=x")], b"")


def test_a_fault_of_ours_is_seen(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were there an exception inside, behind an answer that looks well, the shot would tell."""
    with monkeypatch.context() as broken:
        broken.setattr("reve_middleware.capture.read_ids", lambda *_: 1 / 0)
        with pytest.raises(AssertionError):
            target.shoot(Shot(headers=[*GOOD_HEAD, (b"x", b"y")]))
    target.faults.seen.clear()


# One visitor against many ------------------------------------------------------------------------------


def test_one_visitor_with_very_many_chats_takes_nothing_from_others(shell: ShellKind) -> None:
    """One visitor reports chat after chat while the webhook is slow: five places are all they fill, and of everybody
    else's chats none is lost."""
    shop = Shop()
    shop.people |= {f"p{number}": {"id": 100 + number} for number in range(OTHERS)}
    flood = shop.visitor(shell)
    flood.jar["user"] = "ada"
    shell.webhook.hold()
    answers: Counter[str] = Counter()
    others = []
    for number in range(CHATS):
        answers[flood.capture(f"flood-{number}").json["status"]] += 1
        if number % (CHATS // OTHERS) == 0:
            other = Visitor(flood.middleware, shell)
            other.jar["user"] = f"p{len(others)}"
            assert other.capture(f"own-{len(others)}").json == {"status": "queued"}
            others.append(other)
    stats = flood.middleware.stats()
    assert stats["waiting"] + stats["in_flight"] <= 5 + OTHERS
    assert set(answers) <= {"queued", "busy"}
    shell.webhook.release()
    chats = [post.chat[1] for post in flood.pushed()]
    assert sorted(chat for chat in chats if chat.startswith("own")) == sorted(f"own-{n}" for n in range(OTHERS))
    assert len([chat for chat in chats if chat.startswith("flood")]) <= 5


def test_a_report_of_a_stranger_costs_the_mailbox_nothing(shell: ShellKind) -> None:
    """Reports of nobody in particular put nothing into the mailbox, however many there are."""

    def app(asked: Asked) -> Any:
        yield Start(404)
        yield Last(b"")

    visitor = shell.site(app, profile=lambda request: None)
    for number in range(50):
        assert visitor.capture(f"s-{number}").json == {"status": "anonymous"}
    stats = visitor.middleware.stats()
    assert (stats["offered"], stats["waiting"]) == (0, 0)
