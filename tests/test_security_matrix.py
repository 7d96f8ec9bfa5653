"""Cookies by visitor by page or capture: what is pushed and what is set, written out from the contract (§3 to §5).

`A` is Ada, `B` is Grace; the chat in the cookies is s-1, and the widget reports s-1. In the table of pages:

    .       nothing is pushed and nothing set
    push    the visitor's profile is pushed, and the mark set
    mark    the mark is set, signed with the newest key, and nothing pushed
    drop    both cookies are dropped, and nothing pushed

A capture always sets the ids. "anonymous" pushes nothing; "queued" pushes the visitor's profile and sets the mark;
"current" sets the mark and pushes nothing. It never reads the ids cookie; and what the mark says this chat has heard
stays true, however old the cookie.
"""

from typing import Any

import pytest
from drive import KEY, Clock, Posted, ShellKind, Visitor
from security_cookies import FOREIGN_KEY, GONE_KEY, HOURS, IDS, MARK, NOW, OLDER_KEY, ids, mark
from shop import Shop

PAGES = """
    cookies                       nobody      A           B
    none                          .           .           .
    ids without a mark            .           push        push
    marked for A                  .           .           drop
    marked for B                  .           drop        .
    mark of another session       .           push        push
    forged                        .           .           .
    forged ids, a mark for A      .           .           .
    ids and a forged mark         .           push        push
    a mark for A alone            .           .           .
    expired                       .           .           .
    from the future               .           .           .
    older key                     .           mark        drop
    key gone                      .           .           .
"""
CAPTURES = """
    cookies                       nobody      A           B
    none                          anonymous   queued      queued
    ids without a mark            anonymous   queued      queued
    marked for A                  anonymous   current     queued
    marked for B                  anonymous   queued      current
    mark of another session       anonymous   queued      queued
    forged                        anonymous   queued      queued
    forged ids, a mark for A      anonymous   current     queued
    ids and a forged mark         anonymous   queued      queued
    a mark for A alone            anonymous   current     queued
    expired                       anonymous   current     queued
    from the future               anonymous   current     queued
    older key                     anonymous   current     queued
    key gone                      anonymous   queued      queued
"""
SECURE = "; Path=/; HttpOnly; SameSite=Lax; Secure"
WHOLE_LIFE = f"; Max-Age={12 * HOURS}{SECURE}"
GONE = [f"{name}=; Max-Age=0{SECURE}" for name in (IDS, MARK)]
PROFILES = {"ada": '{"id":1,"name":"Ada"}', "grace": '{"id":2,"name":"Grace"}'}
VERSIONS = {"ada": "v1", "grace": "v1"}
WAYS = {"by profile": {}, "by identity": {"identity": None}, "by version": {"identity": VERSIONS}}
"""Who it is comes from the profile's `id`, from `identity=`, or from `identity=` with a version."""


def rows(table: str) -> list[tuple[str, str | None, str]]:
    """Each cell: the cookies, the visitor, what is to happen."""
    head, *lines = [line for line in table.splitlines() if line.strip()]
    columns = [head.index(name) for name in ("nobody", "A ", "B")]
    found = []
    for line in lines:
        cells = [line[columns[0] : columns[1]], line[columns[1] : columns[2]], line[columns[2] :]]
        found += [
            (line[: columns[0]].strip(), user, cell.strip())
            for user, cell in zip((None, "ada", "grace"), cells, strict=True)
        ]
    return found


def mark_of(user: str, way: str, **how: Any) -> str:
    """The mark of somebody whose profile the chat has heard."""
    who = {"ada": "1", "grace": "2"}[user] if way == "by profile" else user
    return mark(who, PROFILES[user], VERSIONS[user] if way == "by version" else "", **how)


def jar_of(cookies: str, way: str) -> dict[str, str]:
    """What the browser sends of ours."""

    def both(key: str = KEY, at: float = NOW) -> dict[str, str]:
        return {IDS: ids(captured=at, key=key), MARK: mark_of("ada", way, key=key, at=at)}

    jars: dict[str, dict[str, str]] = {
        "none": {},
        "ids without a mark": {IDS: ids()},
        "marked for A": both(),
        "marked for B": {IDS: ids(), MARK: mark_of("grace", way)},
        "mark of another session": {IDS: ids(), MARK: mark_of("ada", way, session_id="s-2")},
        "forged": both(FOREIGN_KEY),
        "forged ids, a mark for A": {**both(), IDS: ids(key=FOREIGN_KEY)},
        "ids and a forged mark": {**both(), MARK: mark_of("ada", way, key=FOREIGN_KEY)},
        "a mark for A alone": {MARK: mark_of("ada", way)},
        "expired": both(at=NOW - 12 * HOURS - 1),
        "from the future": both(at=NOW + 61),
        "older key": both(OLDER_KEY),
        "key gone": both(GONE_KEY),
    }
    return jars[cookies]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def visitor_of(shell: ShellKind, cookies: str, user: str | None, way: str) -> Visitor:
    shop = Shop()
    shop.versions = VERSIONS if way == "by version" else {}
    keywords = {} if way == "by profile" else {"identity": shop.identity}
    visitor = shop.visitor(shell, secret_key=[KEY, OLDER_KEY], **keywords)
    visitor.jar = jar_of(cookies, way) | ({"user": user} if user else {})
    return visitor


def heard(posts: list[Posted]) -> list[bytes]:
    return [post.body for post in posts]


def push_of(user: str | None) -> list[bytes]:
    assert user is not None
    return [b'{"botId":"bot","sessionId":"s-1","data":%b}' % PROFILES[user].encode()]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("cookies", "user", "outcome"), rows(PAGES))
def test_a_page(shell: ShellKind, clock: Clock, way: str, cookies: str, user: str | None, outcome: str) -> None:
    """A page pushes exactly where the table says, and sets exactly the cookies that the table says."""
    visitor = visitor_of(shell, cookies, user, way)
    reply = visitor.get("/")
    assert reply.status == 200
    if cookies == "older key" and way == "by version":
        outcome = outcome.replace("mark", ".")  # the version under the older key will do: nothing is written
    set_mark = [f"{MARK}={mark_of(user, way)}{WHOLE_LIFE}"] if user else []
    expected = {".": [], "push": set_mark, "mark": set_mark, "drop": GONE}[outcome]
    assert reply.values("set-cookie") == expected
    assert reply.header("cache-control") == ("private" if expected else None)
    assert heard(visitor.pushed()) == (push_of(user) if outcome == "push" else [])
    assert visitor.get("/").values("set-cookie") == []
    assert len(visitor.pushed()) == (outcome == "push")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("cookies", "user", "outcome"), rows(CAPTURES))
def test_a_capture(shell: ShellKind, clock: Clock, way: str, cookies: str, user: str | None, outcome: str) -> None:
    """A capture answers, pushes and sets exactly what the table says."""
    visitor = visitor_of(shell, cookies, user, way)
    reply = visitor.capture("s-1")
    assert (reply.status, reply.json) == (200, {"status": outcome})
    first, *others = reply.values("set-cookie")
    assert first == f"{IDS}={ids()}{WHOLE_LIFE}"
    assert [one.partition("=")[0] for one in others] == ([] if outcome == "anonymous" else [MARK])
    if outcome == "queued":
        assert user is not None
        assert others == [f"{MARK}={mark_of(user, way)}{WHOLE_LIFE}"]
    assert heard(visitor.pushed()) == (push_of(user) if outcome == "queued" else [])
    assert visitor.get("/").values("set-cookie") == []
    assert len(visitor.pushed()) == (outcome == "queued")


def test_the_tables_are_whole() -> None:
    """Both tables have every kind of cookies, and three visitors for each."""
    for table in (PAGES, CAPTURES):
        cells = rows(table)
        assert len(cells) == 39
        assert len({(cookies, user) for cookies, user, _ in cells}) == 39
        assert all(outcome for _, _, outcome in cells)
    assert {outcome for _, _, outcome in rows(PAGES)} == {".", "push", "mark", "drop"}
