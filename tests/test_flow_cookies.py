"""Which cookies are believed, and under which keys, through both shells (contract §4)."""

from collections.abc import Callable

import pytest
from drive import KEY, Clock, ShellKind, Visitor, said
from shop import Shop
from test_flow_who import IDS, MARK

from reve_middleware import Bot

NEWER = "a newer key, which is as long as that"
FOREIGN = "the key of another site, long as well"
HOURS = 3600.0


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def with_jar(visitor: Visitor, jar: dict[str, str]) -> Visitor:
    visitor.jar = dict(jar)
    return visitor


def believed(visitor: Visitor) -> bool:
    """Is the visitor's chat believed in? Then its profile is handed over."""
    before = len(visitor.pushed())
    marked = list(visitor.get("/").cookies) == [MARK]
    assert len(visitor.pushed()) - before == marked
    return marked


# Keys ------------------------------------------------------------------------------------------


def test_a_new_key_loses_no_chat_and_repeats_no_push(shell: ShellKind, shop: Shop) -> None:
    """With the newer key first and the older behind it, cookies of the older are believed, marks are compared under
    every key, and what is written is signed with the newest."""
    old = shop.visitor(shell)
    old.jar["user"] = "ada"
    old.capture()
    assert len(old.pushed()) == 1
    both = with_jar(shop.visitor(shell, secret_key=[NEWER, KEY]), old.jar)
    assert list(both.get("/").cookies) == [MARK]  # written anew, under the newer key
    assert both.get("/").values("set-cookie") == []
    assert len(both.pushed()) == 1

    both.capture()
    newest = with_jar(shop.visitor(shell, secret_key=NEWER), both.jar)
    assert newest.get("/").values("set-cookie") == []
    assert newest.capture().json == {"status": "current"}
    assert len(newest.pushed()) == 1


def test_a_key_that_is_gone_takes_its_cookies_with_it(shell: ShellKind, shop: Shop) -> None:
    """Cookies of a key that is no longer in the list count as none."""
    old = shop.visitor(shell)
    old.capture()
    old.jar["user"] = "ada"
    assert believed(with_jar(shop.visitor(shell), old.jar))
    assert not believed(with_jar(shop.visitor(shell, secret_key=NEWER), old.jar))


# Time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(12 * HOURS, True), (12 * HOURS + 1, False), (-60, True), (-61, False)],
    ids=["12 hours", "more", "clocks that differ by a minute", "by more"],
)
def test_a_chat_is_believed_for_12_hours(
    shell: ShellKind, shop: Shop, clock: Clock, seconds: float, expected: bool
) -> None:
    """A chat counts for 12 hours from its capture, on machines whose clocks differ by up to a minute."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"
    clock.seconds += seconds
    assert believed(visitor) == expected


def test_a_mark_lives_as_long_as_its_chat(shell: ShellKind, shop: Shop, clock: Clock) -> None:
    """A mark that is set late ends with the chat; a machine whose clock is behind does not prolong it."""
    visitor = shop.visitor(shell)
    visitor.capture()
    visitor.jar["user"] = "ada"
    clock.seconds += 11 * HOURS
    assert "; Max-Age=3600;" in visitor.get("/").cookies[MARK]
    clock.seconds -= 11 * HOURS + 30
    shop.people["ada"]["name"] = "Countess"
    assert "; Max-Age=43200;" in visitor.get("/").cookies[MARK]


# Names and values ------------------------------------------------------------------------------

Change = Callable[[str, str], str]
UNBELIEVED: dict[str, Change] = {
    "cut": lambda name, value: f"{name}={value[:-1]}",
    "another letter": lambda name, value: f"{name}={value[:5]}{'A' if value[5] != 'A' else 'B'}{value[6:]}",
    "no signature": lambda name, value: f"{name}={value.rpartition('.')[0]}",
    "no value": lambda name, value: f"{name}=",
    "no equals sign": lambda name, value: name,
    "in quotes": lambda name, value: f'{name}="{value}"',
    "much too long": lambda name, value: f"{name}={value}{'A' * 5000}",
    "twice": lambda name, value: f"{name}={value}; {name}={value}",
    "twice, one of them bad": lambda name, value: f"{name}={value}; {name}=tossed",
    "without its prefix": lambda name, value: f"{name.removeprefix('__Host-')}={value}",
    "another prefix": lambda name, value: f"__Secure-{name.removeprefix('__Host-')}={value}",
    "other letters": lambda name, value: f"{name.lower()}={value}",
    "a longer name": lambda name, value: f"{name}2={value}",
    "a blank that is none": lambda name, value: f"\xa0{name}={value}",
    "a blank before the equals sign": lambda name, value: f"{name} ={value}",
    "a vertical tab": lambda name, value: f"\x0b{name}={value}",
    "in another's value": lambda name, value: f"other={name}={value}",
}


@pytest.mark.parametrize("name", UNBELIEVED)
def test_a_cookie_that_is_not_genuine_is_no_cookie(shell: ShellKind, shop: Shop, name: str) -> None:
    """A chat's cookie that was changed, renamed or doubled counts as none: no error, no push, no cookie."""
    visitor = shop.visitor(shell)
    visitor.capture()
    changed = UNBELIEVED[name](IDS, visitor.jar[IDS])
    reply = visitor.get("/", cookie=f"user=ada; {changed}")
    assert (reply.status, reply.values("set-cookie")) == (200, [])
    assert visitor.pushed() == []
    assert list(visitor.get("/", cookie=f"user=ada;\t{IDS}={visitor.jar[IDS]} ").cookies) == [MARK]


def test_a_mark_that_is_not_genuine_is_no_mark(shell: ShellKind, shop: Shop) -> None:
    """Without a believable mark the profile is handed over as if for the first time, by another process."""
    first = shop.visitor(shell)
    first.jar["user"] = "ada"
    first.capture()
    for change in ("", "x", first.jar[IDS]):
        other = with_jar(shop.visitor(shell), first.jar | {MARK: change})
        assert list(other.get("/").cookies) == [MARK]


def test_a_cookie_of_one_kind_is_not_taken_for_the_other(shell: ShellKind, shop: Shop) -> None:
    """The two cookies have salts of their own: one in the place of the other is not genuine."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    visitor.capture()
    ids, mark = visitor.jar[IDS], visitor.jar[MARK]
    swapped = with_jar(shop.visitor(shell), {"user": "ada", IDS: mark, MARK: ids})
    assert swapped.get("/").values("set-cookie") == []


def test_a_bot_that_is_no_longer_ours(shell: ShellKind, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """The cookie of a bot that was taken out of the settings counts as none."""
    bots = [Bot(webhook_url=f"https://reve.example/{one}", token=one, chatbot_id=one) for one in ("a", "b")]
    visitor = shop.visitor(shell, bots=bots)
    visitor.capture(chatbot_id="b")
    visitor.jar["user"] = "ada"
    fewer = with_jar(shop.visitor(shell, bots=bots[:1]), visitor.jar)
    assert not believed(fewer)
    assert believed(visitor)
    assert said(caplog) == []


def test_another_base_name_is_another_cookie(shell: ShellKind, shop: Shop) -> None:
    """Two wrapped mounts on one host keep apart under `cookie=`."""
    visitor = shop.visitor(shell, cookie="two")
    visitor.jar["user"] = "ada"
    assert list(visitor.capture().cookies) == ["__Host-two", "__Host-two-mark"]
    first = with_jar(shop.visitor(shell), visitor.jar)
    assert first.get("/").values("set-cookie") == []
