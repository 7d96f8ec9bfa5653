"""The names of the cookies, read from the raw bytes of the header (THREATS T2, T3)."""

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pure import KEY, NOW, make_ids

from reve_middleware.cookie import Cookies, Ids, find

COOKIES = Cookies("reve", [KEY], dev=False)
IDS = make_ids()


def value_of(ids: Ids) -> bytes:
    return COOKIES.write_ids(ids).partition(b"=")[2].partition(b";")[0]


GOOD = value_of(IDS)
SPOOFS = [
    "\u2000__Host-reve".encode(),
    b"\xa0__Host-reve",
    b"\x85__Host-reve",
    b"\x0b__Host-reve",
    b"\x0c__Host-reve",
    b"\x00__Host-reve",
    b"\x1f__Host-reve",
    b"\xef\xbb\xbf__Host-reve",
    b"\r\n__Host-reve",
    b"__Host-reve\xa0",
    b"__Host-reve ",
    b"__Host-reve\t",
    b'"__Host-reve"',
    b'"__Host-reve',
    b"__host-reve",
    b"__HOST-REVE",
    b"__Host-Reve",
    b"__Host%2Dreve",
    b"=__Host-reve",
    b"x=__Host-reve",
    b"a,__Host-reve",
    b"$__Host-reve",
    b"__Host-reve-",
    b"__Host-reve.",
    b"reve",
]


@pytest.mark.parametrize("name", SPOOFS)
@pytest.mark.parametrize("form", [b"%b=%b", b"a=b; %b=%b", b"a=b;%b=%b; c", b"\t%b=%b\t"])
def test_a_name_that_only_looks_like_ours_is_not_ours(name: bytes, form: bytes) -> None:
    """Only the exact bytes of a name count: no blank but space and tab is stripped, no case folded, nothing decoded."""
    assert COOKIES.ids([form % (name, GOOD)], NOW) is None


@pytest.mark.parametrize("name", [spoof for spoof in SPOOFS if spoof != b"=__Host-reve"])
def test_a_look_alike_does_not_push_out_the_real_one(name: bytes) -> None:
    """A look-alike beside the real cookie changes nothing, before or behind it."""
    fake = value_of(make_ids("chat-2"))
    for header in (b"%b=%b; __Host-reve=%b" % (name, fake, GOOD), b"__Host-reve=%b; %b=%b" % (GOOD, name, fake)):
        assert COOKIES.ids([header], NOW) == IDS


@pytest.mark.parametrize(
    "headers",
    [
        [b"__Host-reve=%b; __Host-reve=%b" % (GOOD, GOOD)],
        [b"__Host-reve=; __Host-reve=%b" % GOOD],
        [b"__Host-reve=%b; __Host-reve=" % GOOD],
        [b"__Host-reve=%b" % GOOD, b"__Host-reve=%b" % GOOD],
        [b"__Host-reve=%b;\t__Host-reve=x" % GOOD],
        [b"a=b; __Host-reve=x", b"c=d", b"__Host-reve=%b" % GOOD],
    ],
)
def test_a_name_that_comes_twice_counts_as_none(headers: list[bytes]) -> None:
    """Who can toss a second cookie of our name decides nothing: two are none, in one header or several."""
    assert COOKIES.ids(headers, NOW) is None


@pytest.mark.parametrize(
    "headers",
    [
        [GOOD.join([b"__Host-reve=", b""])],
        [b"a=b; __Host-reve=" + GOOD + b"; c=d"],
        [b"a=b;__Host-reve=" + GOOD + b";c=d"],
        [b"a=b", b"__Host-reve=" + GOOD],
        [b";;; \t__Host-reve=" + GOOD + b" \t;;"],
        [b"__Host-reve-mark=x; __Host-reve=" + GOOD],
        [b'a="b; __Host-reve=' + GOOD + b'; c"'],
        [b"__Host-reve; __Host-reve=" + GOOD],
    ],
)
def test_the_cookie_is_found_among_others(headers: list[bytes]) -> None:
    """The cookie is found wherever it stands; the mark's longer name is another name, quotes hide nothing."""
    assert COOKIES.ids(headers, NOW) == IDS


PIECES = st.sampled_from(
    [b"__Host-reve", b"__Host-reve-mark", b"=", b";", b" ", b"\t", b"\xa0", b"\x85", b'"', b"a", b"a=b", b"; ", GOOD]
)
SOUP = st.lists(PIECES | st.binary(max_size=4), max_size=12).map(b"".join)


@given(st.lists(SOUP, max_size=3), st.sampled_from([b"__Host-reve", b"__Host-reve-mark", b"a"]))
@effort(max_examples=150, deadline=None)
def test_only_a_byte_equal_name_is_ever_found(headers: list[bytes], name: bytes) -> None:
    """Whatever stands in the `Cookie` headers, a value is found only where exactly one name is ours byte by byte."""
    named = [pair for header in headers for pair in header.split(b";") if pair.lstrip(b" \t").startswith(name + b"=")]
    value = find(headers, name)
    if len(named) == 1:
        assert value == named[0].strip(b" \t")[len(name) + 1 :]
    else:
        assert value is None


@given(st.lists(SOUP, max_size=2) | st.binary(max_size=80).map(lambda value: [b"__Host-reve=" + value]), st.integers())
@effort(max_examples=150, deadline=None)
def test_no_header_makes_an_exception(headers: list[bytes], now: int) -> None:
    """Whatever stands in the `Cookie` headers, reading both cookies never raises and never believes a forgery."""
    ids = COOKIES.ids(headers, now)
    assert ids is None or ids == IDS
    assert COOKIES.mark(headers) is None
