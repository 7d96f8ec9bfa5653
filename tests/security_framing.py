"""Requests whose end is in dispute: Content-Length against Transfer-Encoding, and what else servers disagree about.

Each attack is a request of another site, with a report hidden in its body that claims to be of our own. A server that
finds one request there must run our endpoint once at most; where it finds two, the second is a request of its own, with
the attacker's own cookies: no server has mixed it with somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from security_servers import Server, statuses

REPORT = b'{"session_id":"hidden","chatbot_id":"bot"}'
END = b"GET /end HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
NUMBER = b"nnn"
"""Stands for the attack's number."""


class Attack(NamedTuple):
    """What is sent over one connection."""

    name: str
    data: bytes
    whole: bool = False
    """Is there no doubt that it is one request, whose body holds the other?"""
    unfinished: bool = False
    """May a server wait for more of the body?"""

    @property
    def is_for_us(self) -> bool:
        return self.data.startswith(b"POST /_reve/session")


class Finding(NamedTuple):
    """What came of an attack on one server."""

    answers: list[int]
    """The statuses that came back."""
    outer: list[int]
    """Our status for the request that the attack begins with, each time it ran."""
    hidden: list[int]
    """For the one in its body."""
    victim: list[int]
    """For one with somebody else's cookies."""


def head(*lines: bytes) -> bytes:
    return b"\r\n".join((b"POST /_reve/session HTTP/1.1", b"Host: shop.example", *lines, b"", b""))


def report(site: bytes, *more: bytes) -> bytes:
    """A report as the bridge makes it."""
    length = b"Content-Length: %d" % len(REPORT)
    origin = b"Origin: https://%b.example" % (b"shop" if site == b"same-origin" else b"attacker")
    ours = (b"Content-Type: application/json", b"X-Reve-Bridge: 1", b"Sec-Fetch-Site: " + site, origin, length)
    return head(*ours, *more) + REPORT


HIDDEN = report(b"same-origin", b"Cookie: user=hidden")
VICTIM = b"GET /account HTTP/1.1\r\nHost: shop.example\r\nCookie: user=victim\r\nSec-Fetch-Site: %b\r\n\r\n"
PREFIX = b"\r\n".join(
    (
        b"POST /_reve/session HTTP/1.1",
        b"Content-Type: application/json",
        b"X-Reve-Bridge: 1",
        b"Origin: https://shop.example",
        b"Content-Length: %d" % len(END),
    )
)
"""A head without its end, for somebody else's request to finish it."""


def outer(path: bytes, framing: bytes, body: bytes) -> bytes:
    ours = (b"Content-Type: application/json", b"X-Reve-Bridge: 1", b"Sec-Fetch-Site: cross-site")
    lines = (*ours, b"X-Number: " + NUMBER, framing)
    return head(*lines).replace(b"/_reve/session", path, 1) + body


def attacks() -> list[Attack]:
    found = [attack for path in (b"/_reve/session", b"/") for attack in _on(path)]
    length, chunked = b"Content-Length: %d\r\nTransfer-Encoding: chunked", LAST_CHUNK
    for name, own, site in (
        ("of a page", b"Host: shop.example\r\nSec-Fetch-Site: same-origin", b"none"),
        ("of a script", b"Host: shop.example", b"same-origin"),
        ("of a script, without a host", b"X: y", b"same-origin"),
    ):
        body = chunked + PREFIX + b"\r\n" + own + b"\r\nX-Rest: " + VICTIM % site
        found.append(
            Attack(f"a head that a request {name} finishes", outer(b"/", length % len(body), body) + END + END)
        )
    return found


def _on(path: bytes) -> list[Attack]:
    size, chunked = len(HIDDEN), LAST_CHUNK + HIDDEN
    both = b"Content-Length: %d\r\n" % len(chunked)
    one_chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (size, HIDDEN)

    def attack(name: str, framing: bytes, body: bytes, *, whole: bool = False, unfinished: bool = False) -> Attack:
        data = outer(path, framing, body) + (b"" if unfinished else END)
        return Attack(f"{path.decode()}: {name}", data, whole, unfinished)

    return [
        attack("in the body, by length", b"Content-Length: %d" % size, HIDDEN, whole=True),
        attack("in a chunk", b"Transfer-Encoding: chunked", one_chunk, whole=True),
        attack("in a chunk's extension", b"Transfer-Encoding: chunked", b'0;x="%b"\r\n\r\n' % b"POST", whole=True),
        attack("in a trailer", b"Transfer-Encoding: chunked", b"0\r\nSec-Fetch-Site: same-origin\r\n\r\n", whole=True),
        attack("length and chunks", both + b"Transfer-Encoding: chunked", chunked),
        attack("chunks and length", b"Transfer-Encoding: chunked\r\n" + both.strip(), chunked),
        attack("chunks and a shorter length", b"Transfer-Encoding: chunked\r\nContent-Length: 4", one_chunk),
        attack("no length", b"X: y", HIDDEN),
        attack("two lengths", b"Content-Length: 0\r\nContent-Length: %d" % size, HIDDEN),
        attack("two lengths, the longer first", b"Content-Length: %d\r\nContent-Length: 0" % size, HIDDEN),
        attack("two lengths in one", b"Content-Length: %d, 0" % size, HIDDEN),
        attack("a length twice", b"Content-Length: %d\r\nContent-Length: %d" % (size, size), HIDDEN, whole=True),
        attack("a length with a sign", b"Content-Length: +%d" % size, HIDDEN),
        attack("a length below zero", b"Content-Length: -1", HIDDEN),
        attack("a length in hexadecimal", b"Content-Length: 0x0", HIDDEN),
        attack("a length with an underscore", b"Content-Length: 0_0", HIDDEN),
        attack("a length with a blank inside", b"Content-Length: 0 0", HIDDEN),
        attack("a folded length", b"Content-Length:\r\n %d" % size, HIDDEN),
        attack("a length under another name", b"Content_Length: %d\r\nContent-Length: 0" % size, HIDDEN),
        attack("an unknown coding", both + b"Transfer-Encoding: xchunked", chunked),
        attack("identity", both + b"Transfer-Encoding: identity", chunked),
        attack("chunks within identity", both + b"Transfer-Encoding: chunked, identity", chunked),
        attack("two codings", both + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", chunked),
        attack("a folded coding", both + b"Transfer-Encoding:\r\n chunked", chunked),
        attack("a coding behind a vertical tab", both + b"Transfer-Encoding: \x0bchunked", chunked),
        attack("a blank before the colon", both + b"Transfer-Encoding : chunked", chunked),
        attack("a coding under another name", both + b"Transfer_Encoding: chunked", chunked),
        attack("a coding behind a bare CR", both + b"X: y\rTransfer-Encoding: chunked", chunked),
        attack("a coding behind a bare LF", both + b"X: y\nTransfer-Encoding: chunked", chunked),
        attack("a chunk of size -1", b"Transfer-Encoding: chunked", b"-1\r\n" + HIDDEN),
        attack("a chunk of size 0x0", b"Transfer-Encoding: chunked", b"0x0\r\n\r\n" + HIDDEN),
        attack("a chunk of size 0_0", b"Transfer-Encoding: chunked", b"0_0\r\n\r\n" + HIDDEN),
        attack("a chunk's line that ends with LF", b"Transfer-Encoding: chunked", b"0\n\n" + HIDDEN),
        attack("an extension with LF", b"Transfer-Encoding: chunked", b"0;\n\r\n\r\n" + HIDDEN),
        attack("more in a chunk than it says", b"Transfer-Encoding: chunked", b"2\r\n{}xx\r\n" + chunked),
        attack("a size too large for any integer", b"Transfer-Encoding: chunked", b"f" * 17 + b"0\r\n" + HIDDEN,
               unfinished=True),
        attack("a length too large for any integer", b"Content-Length: " + b"9" * 30, HIDDEN, unfinished=True),
        attack("a length of 5,000 digits", b"Content-Length: " + b"0" * 4990 + b"%d" % size, HIDDEN, unfinished=True),
        attack("a body that breaks off", b"Content-Length: %d" % (size + 9), HIDDEN, whole=True, unfinished=True),
        attack("a chunk that breaks off", b"Transfer-Encoding: chunked", one_chunk[:-9], whole=True, unfinished=True),
    ]  # fmt: skip


def launch(server: Server, attacks: Sequence[Attack]) -> list[tuple[Attack, Finding]]:
    """Send them one by one, and see what ran. What ran late, when its client had hung up, counts for its own attack."""
    found: list[tuple[Attack, Finding]] = []
    for number, attack in enumerate(attacks):
        answer = server.send(attack.data.replace(NUMBER, b"%03d" % number, 1), hang_up=attack.unfinished)
        found.append((attack, Finding(statuses(answer), [], [], [])))
        for run in server.ask("/runs") or []:
            said = [(name.replace("_", "-"), value) for name, value in run["headers"]]
            cookies = "; ".join(value for name, value in said if name == "cookie")
            if "victim" in cookies or "hidden" in cookies:
                finding = found[number][1]
                (finding.victim if "victim" in cookies else finding.hidden).append(run["status"])
            else:
                of = next((int(value) for name, value in said if name == "x-number" and value.isdigit()), number)
                found[of][1].outer.append(run["status"])
    return found


def complaint(attack: Attack, finding: Finding) -> str | None:
    """What is wrong with what came of it; None where nothing is."""
    ours = finding.outer + finding.hidden + finding.victim
    if len(finding.outer) > attack.is_for_us or len(finding.hidden) > 1 or len(finding.victim) > 1:
        return "our endpoint ran twice"
    if len(ours) > len(finding.answers) and not attack.unfinished:
        return "our endpoint ran without an answer"
    if any(status >= 500 for status in ours):
        return "we answered with a server error"
    if any(status >= 500 and status not in (501, 505) for status in finding.answers):
        return "the server failed"
    if 200 in finding.outer + finding.victim:
        return "a report of another site was taken"
    if attack.whole and finding.hidden:
        return "what stood in a body was taken for a request"
    return None
