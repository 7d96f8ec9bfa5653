"""Cookies that others made, through both shells: look-alikes, other products' and odd ones (contract §4)."""

from typing import Any

import pytest
from drive import KEY, Call, Clock, Reply, ShellKind, elsewhere
from security_cookies import (
    FOREIGN_KEY,
    HOURS,
    IDS,
    IDS_SALT,
    MARK,
    MARK_SALT,
    NOW,
    SERIALIZED,
    SIGNED,
    ids,
    ids_payload,
    mark,
    mark_payload,
    sign,
)
from shop import Shop

from reve_middleware import sign_out

ADA = '{"id":1,"name":"Ada"}'
GOOD, GOOD_MARK = ids(), mark("1", ADA)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def look(shell: ShellKind, shop: Shop, *cookies: bytes, **keywords: Any) -> tuple[Reply, list[Any]]:
    """The answer to a page that Ada asks for with these `Cookie` headers, and what was pushed."""
    visitor = shop.visitor(shell, **keywords)
    headers = [("host", "shop.example"), *(("cookie", one.decode("latin-1")) for one in cookies)]
    if shell.name == "wsgi":  # where a server puts several into one
        headers = [headers[0], ("cookie", b"; ".join(cookies).decode("latin-1"))]
    reply = shell.call(visitor.middleware, Call("GET", "/", headers))
    assert reply.status == 200
    return reply, visitor.pushed()


def assert_believed(shell: ShellKind, shop: Shop, *cookies: bytes) -> None:
    reply, pushed = look(shell, shop, *cookies)
    assert list(reply.cookies) == [MARK]
    assert len(pushed) == 1


def assert_no_chat(shell: ShellKind, shop: Shop, *cookies: bytes) -> None:
    reply, pushed = look(shell, shop, *cookies)
    assert reply.values("set-cookie") == []
    assert pushed == []


# Names -----------------------------------------------------------------------------------------------

BLANKS = [0x00A0, 0x0085, 0x1680, *range(0x2000, 0x200C), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF, 0x180E]
BYTES = [0x01, 0x0B, 0x0C, 0x1C, 0x1F, 0x7F, 0x85, 0xA0]
NAMES: dict[str, bytes] = {
    **{f"U+{point:04X} before": chr(point).encode() + IDS.encode() for point in BLANKS},
    **{f"U+{point:04X} behind": IDS.encode() + chr(point).encode() for point in BLANKS},
    **{f"byte {byte:02X} before": bytes([byte]) + IDS.encode() for byte in BYTES},
    **{f"byte {byte:02X} behind": IDS.encode() + bytes([byte]) for byte in BYTES},
    "a tab behind": IDS.encode() + b"\t",
    "a blank behind": IDS.encode() + b" ",
    "in quotes": f'"{IDS}"'.encode(),
    "a quote before": f'"{IDS}'.encode(),
    "an apostrophe before": f"'{IDS}".encode(),
    "a full-width underscore": "\uff3f\uff3fHost-reve".encode(),
    "a long s": "__Ho\u017ft-reve".encode(),
    "another hyphen": "__Host\u2010reve".encode(),
    "in percents": b"%5F%5FHost-reve",
    "an attribute of old": f"$Version=1; ${IDS}".encode(),
    "a name inside a name": f"a.{IDS}".encode(),
    "a name of the sandwich": f"a{IDS}".encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_looks_like_ours(shell: ShellKind, shop: Shop, name: str) -> None:
    """A cookie whose name only looks like ours, or becomes ours where somebody strips or decodes it, is nobody's chat;
    beside the real one it changes nothing, whichever comes first."""
    fake, real = NAMES[name] + b"=" + ids("attackers-chat").encode(), f"{IDS}={GOOD}".encode()
    assert_no_chat(shell, shop, b"user=ada; " + fake)
    for cookies in (b"user=ada; %b; %b" % (fake, real), b"user=ada; %b; %b" % (real, fake)):
        reply, pushed = look(shell, shop, cookies)
        assert list(reply.cookies) == [MARK]
        assert [post.chat for post in pushed[-1:]] == [("bot", "s-1")]


@pytest.mark.parametrize(
    "cookies",
    [
        [f"user=ada; {IDS}={GOOD}; {IDS}={ids('attackers-chat')}"],
        [f"user=ada; {IDS}={ids('attackers-chat')}; {IDS}={GOOD}"],
        [f"{IDS}={GOOD}; user=ada; {IDS}={GOOD}"],
        [f"user=ada; {IDS}=; {IDS}={GOOD}"],
        [f"user=ada;{IDS}={GOOD};\t{IDS}=x"],
        [f"user=ada; {IDS}={GOOD}", f"{IDS}={ids('attackers-chat')}"],
        [f"{IDS}={ids('attackers-chat')}", f"user=ada; {IDS}={GOOD}"],
    ],
    ids=range(7),
)
def test_two_of_our_name_are_none(shell: ShellKind, shop: Shop, cookies: list[str]) -> None:
    """Where two cookies have our name somebody has tossed one: neither is believed, in one header or in several."""
    assert_no_chat(shell, shop, *(one.encode() for one in cookies))


def test_two_marks_are_none(shell: ShellKind, shop: Shop) -> None:
    """Of two marks neither counts: the profile is handed over as if for the first time."""
    assert_believed(shell, shop, f"user=ada; {IDS}={GOOD}; {MARK}={GOOD_MARK}; {MARK}={GOOD_MARK}".encode())


# Values ----------------------------------------------------------------------------------------------

ODD_VALUES: dict[str, str] = {
    "4 KiB of nothing": "A" * 4096,
    "4 KiB, and a signature": "A" * 4052 + "." + "A" * 43,
    "64 KiB": "A" * 65536,
    "4 KiB of dots": "." * 4096,
    "4 KiB of equals signs": "=" * 4096,
    "not ASCII": "\xe4" * 99,
    "genuine, with 4 KiB behind": GOOD + "." + "A" * 4096,
    "genuine, percents": GOOD.replace(".", "%2E"),
    "genuine, twice in a row": GOOD + GOOD,
    "genuine, in quotes": f'"{GOOD}"',
    "genuine, with a comma": f"{GOOD},{GOOD}",
    "signed with another key": ids(key=FOREIGN_KEY),
    "signed with no key": ids(key=""),
    "signed with our salt as key": ids(key=IDS_SALT.decode()),
    "a mark, as ids": GOOD_MARK,
    "ids, salted as a mark": sign(ids_payload(), MARK_SALT),
    "a bot that is not ours": sign(ids_payload(bot="other"), IDS_SALT),
    "61 s from the future": ids(captured=NOW + 60.000001),
    "12 h and a moment old": ids(captured=NOW - 12 * HOURS - 0.000001),
    "of 1970": ids(captured=0),
    "of the year 300000": ids(captured=2**53 / 1000),
    "before 1970": ids(captured=-1),
}


@pytest.mark.parametrize("name", ODD_VALUES)
def test_an_odd_value_is_nobodys_chat(shell: ShellKind, shop: Shop, name: str) -> None:
    """A value that is not ours, of another time, or signed with another key or salt, is no cookie, and no error."""
    assert_no_chat(shell, shop, f"user=ada; {IDS}=".encode() + ODD_VALUES[name].encode("latin-1"))


@pytest.mark.parametrize("captured", [NOW + 60, NOW + 59, NOW, NOW - 61, NOW - 12 * HOURS])
def test_a_genuine_value_is_a_chat(shell: ShellKind, shop: Shop, captured: int) -> None:
    """What we sign is believed: from a clock 60 s ahead of ours until 12 h after the capture."""
    assert_believed(shell, shop, f"user=ada; {IDS}={ids(captured=captured)}".encode())


def test_among_a_thousand_others_it_is_found(shell: ShellKind, shop: Shop) -> None:
    """A header of a thousand cookies hides nothing and costs no error."""
    many = "; ".join(f"c{number}={'x' * 30}" for number in range(1000))
    assert_believed(shell, shop, f"{many}; user=ada; {IDS}={GOOD}; {many}".encode())


ODD_MARKS: dict[str, str] = {
    **{name: value for name, value in ODD_VALUES.items() if name != "a mark, as ids"},
    "ids, as a mark": GOOD,
    "a mark, salted as ids": sign(mark_payload("1", ADA), IDS_SALT),
    "signed with another key, hashes as ours": sign(mark_payload("1", ADA), MARK_SALT, FOREIGN_KEY),
    "too few parts": sign(b"a.b.c", MARK_SALT),
    "a time that is none": sign(b"a.b.c.d.e", MARK_SALT),
}


@pytest.mark.parametrize("name", ODD_MARKS)
def test_an_odd_mark_is_no_mark(shell: ShellKind, shop: Shop, name: str) -> None:
    """A mark that is not ours silences nobody: the profile is handed over."""
    cookies = f"user=ada; {IDS}={GOOD}; {MARK}=".encode() + ODD_MARKS[name].encode("latin-1")
    assert_believed(shell, shop, cookies)


# Other products with the same key --------------------------------------------------------------------

OURS = {"our ids": ids_payload(), "our mark": mark_payload("1", ADA)}


@pytest.mark.parametrize("product", SIGNED)
@pytest.mark.parametrize("payload", OURS)
def test_a_signature_of_another_product_is_not_ours(shell: ShellKind, shop: Shop, product: str, payload: str) -> None:
    """Who uses our key for something else as well makes no cookie of ours, not even over the very same payload."""
    value = SIGNED[product](KEY, OURS[payload]).encode()
    if payload == "our ids":
        assert_no_chat(shell, shop, f"user=ada; {IDS}=".encode() + value)
    else:
        assert_believed(shell, shop, f"user=ada; {IDS}={GOOD}; {MARK}=".encode() + value)


@pytest.mark.parametrize("product", SERIALIZED)
def test_a_session_of_another_product_is_not_ours(shell: ShellKind, shop: Shop, product: str) -> None:
    """Sessions that Flask, Starlette and Django sign with our key, and what itsdangerous signs by default, are taken
    for no chat and no mark, even where they hold what ours do."""
    value = SERIALIZED[product](KEY, ["bot", "s-1", NOW * 1_000_000]).encode()
    assert_no_chat(shell, shop, f"user=ada; {IDS}=".encode() + value)
    assert_believed(shell, shop, f"user=ada; {IDS}={GOOD}; {MARK}=".encode() + value)


@pytest.mark.parametrize("product", SERIALIZED)
def test_they_make_other_values_of_the_same(product: str) -> None:
    """The other products' values are genuine ones of theirs, and none is one of ours."""
    said = ["bot", "s-1", NOW * 1_000_000]
    assert SERIALIZED[product](KEY, said) != SERIALIZED[product](FOREIGN_KEY, said)
    assert SERIALIZED[product](KEY, said) not in (GOOD, GOOD_MARK)


# A sign-out beside a first capture -------------------------------------------------------------------


def test_a_sign_out_beside_the_first_report_leaves_the_chat_with_its_own_visitor(shell: ShellKind, shop: Shop) -> None:
    """Where somebody signs out while the first report of their chat is under way there is no cookie to know it by, and
    the report stands: their own chat hears of them, and of nobody who logs in after them."""
    visitor = shop.visitor(shell)
    visitor.jar["user"] = "ada"
    shop.before["/logout"] = sign_out
    asked: list[Any] = []

    def meanwhile() -> None:
        asked.append(elsewhere(visitor.get, "/logout"))

    shop.before["/_reve/session"] = meanwhile
    assert visitor.capture("s-1").json == {"status": "queued"}
    assert asked[0].values("set-cookie") == ["user=; Path=/; Max-Age=0"]
    assert len(visitor.pushed()) == 1
    visitor.jar["user"] = "grace"
    assert set(visitor.get("/").cookies) == {IDS, MARK}
    assert IDS not in visitor.jar
    visitor.get("/")
    assert [post.data["name"] for post in visitor.pushed()] == ["Ada"]
