"""The same scripts against a site bare and wrapped, and the differences: bytes that nothing documented explains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from raw import Answer, Connection
from server_bytes_answers import HEAD
from server_bytes_h2 import H2_SCRIPTS
from server_bytes_programs import Program
from server_bytes_running import Running
from server_bytes_scripts import SCRIPTS, Ask, Script, Seen

BRIDGE = re.compile(rb'<script src="/_reve/bridge\.js\?v=[0-9a-f]{16}" data-function="identify"[^>]*></script>')
REPORT = (
    "X-Reve-Bridge: 1", "Sec-Fetch-Site: same-origin", "Origin: http://shop.example", "Content-Type: application/json",
)  # fmt: skip
IDS = b'{"session_id": "chat-1", "chatbot_id": "shop-bot"}'
GENERATED = re.compile(rb"(?im)^(date|last-modified): [^\r]*")
SOURCE = re.compile(rb"(?im)^x-app: 1\r$")
FILE = re.compile(rb"(?im)^x-file: 1\r$")
MARK = re.compile(rb"(?im)^set-cookie: reve-mark=[\w.~-]+; Max-Age=\d+; Path=/; HttpOnly; SameSite=Lax\r\n")
LENGTH = re.compile(rb"(?im)^(content-length: )(\d+)")
CACHE = re.compile(rb"(?im)^cache-control: ([^\r]*)\r\n")


class Way(NamedTuple):
    """How the site is reached, and what of it is different on purpose."""

    name: str
    way: str = "ours"
    cookie: str = ""
    """`ids`: a visitor with a chat; `mark`: one whose profile was handed over, too."""

    @property
    def has_news(self) -> bool:
        """Does each answer set the mark?"""
        return self.cookie == "ids"


INJECT, MUTE = Way("wrapped"), Way("inject=False", "mute")
MARKED, NEWS = Way("marked", cookie="mark"), Way("news", cookie="ids")
WAYS = [INJECT, MUTE, MARKED, NEWS]


class Talk:
    """With a server, in one way, as one visitor."""

    def __init__(self, server: Running, way: str, cookie: str = "", tag: bytes = b"") -> None:
        self.server = server
        self.tag = tag
        self.lines = (f"X-Way: {way}", *([f"Cookie: {cookie}"] if cookie else []))

    def connect(self) -> Connection:
        return self.server.connect()

    def raw(self, ask: Ask) -> bytes:
        return ask.raw(self.lines)

    def ask(self, ask: Ask) -> Answer:
        with self.connect() as connection:
            connection.send(self.raw(ask))
            return connection.answer(ask.method)


class Comparison:
    """A server, and everything asked of it."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.answers = 0
        self._asked: dict[tuple[str, str], list[Seen]] = {}
        page = Talk(server, "ours").ask(Ask("/page")).body
        found = BRIDGE.match(page, len(HEAD))
        assert found is not None, f"{server.name}: there is no tag in {page[:200]!r}"
        self.tag = found[0]
        self.cookies = self._cookies()

    def _cookies(self) -> dict[str, str]:
        """What a visitor's browser has, once the bridge has reported a chat, and once there was an answer."""
        ids = _cookie(Talk(self.server, "ours").ask(Ask("/_reve/session", "POST", REPORT, IDS)))
        some = f"user=ada; {ids}"
        return {"": "", "ids": some, "mark": f"{some}; {_cookie(Talk(self.server, 'ours', some).ask(Ask('/json')))}"}

    def differences(self, script: Script, way: Way) -> list[str]:
        """What is different from the site bare, in plain words."""
        cookie = self.cookies[way.cookie]
        tag = b"" if way.way == "mute" else self.tag
        bare = self._bare(script, cookie)
        ours = script.play(Talk(self.server, way.way, cookie, tag))
        self.answers += len(ours)
        if len(bare) != len(ours):
            return [f"{script.name}, {way.name}: {len(ours)} answers on one connection, not {len(bare)}: {ours}"]
        return [
            f"{script.name}, {way.name}, answer {number}: {one}"
            for number, pair in enumerate(zip(bare, ours, strict=True), 1)
            for one in self._differences(*pair, tag, has_news=way.has_news)
        ]

    def _bare(self, script: Script, cookie: str) -> list[Seen]:
        """Asked once; the site looks at cookies in one script alone."""
        key = script.name, cookie if script.sees_cookies else ""
        if key not in self._asked:
            self._asked[key] = script.play(Talk(self.server, "bare", key[1]))
        return self._asked[key]

    def _differences(self, bare: Seen, ours: Seen, tag: bytes, *, has_news: bool) -> list[str]:
        if not self.server.program.splits:
            bare, ours = whole(bare), whole(ours)
        return list(differences(bare, ours, tag, has_news=has_news))


def scripts_for(program: Program, *, slow: bool = False) -> list[Script]:
    """Those that a server gets."""
    return [
        script
        for script in SCRIPTS + H2_SCRIPTS
        if script.only in ("", program.protocol, *(["h2"] if program.http2 else []))
        and program.lacks(script.name) is None
        and (slow or not program.is_slow(script.name))
    ]


def whole(seen: Seen) -> Seen:
    """What is left to compare where the borders of chunks are not the application's."""
    if isinstance(seen.answer, str) or not seen.answer.sizes:
        return seen
    return seen._replace(answer=seen.answer._replace(sizes=(), chunks=(seen.answer.body,)))


def _cookie(answer: Answer) -> str:
    [value] = answer.values(b"set-cookie")
    return value.partition(b";")[0].decode()


def differences(bare: Seen, ours: Seen, tag: bytes, *, has_news: bool) -> Iterator[str]:
    """What the tag, and in an answer with news the mark, do not explain."""
    if isinstance(bare.answer, str) or isinstance(ours.answer, str):
        if bare != ours:
            yield f"{ours.answer!r}, not {bare.answer!r}"
        return
    tag = tag if ours.ask.tagged else b""
    expected = expected_answer(bare.answer, tag)
    found = ours.answer
    if has_news and SOURCE.search(expected.head) and may_be_marked(expected, ours.ask):
        found, missing = without_news(found, expected.values(b"cache-control"))
        expected = expected._replace(head=CACHE.sub(b"", expected.head))
        yield from missing
    if tag:  # its size may have letters where that of the page had none
        found, expected = (one._replace(sizes=tuple(size.upper() for size in one.sizes)) for one in (found, expected))
    for name in Answer._fields:
        one, other = getattr(found, name), getattr(expected, name)
        if name in ("head", "interim"):
            one, other = _settled(one), _settled(other)
        if one != other:
            yield f"{name}: {_short(one)}, not {_short(other)}"


def expected_answer(bare: Answer, tag: bytes) -> Answer:
    """The bare answer, with the tag behind its head, where there is one."""
    if not tag or not SOURCE.search(bare.head) or FILE.search(bare.head):
        return bare
    head = LENGTH.sub(lambda found: found[1] + b"%d" % (int(found[2]) + len(tag)), bare.head)
    head = re.sub(rb'(?im)^(etag: )"', rb'\1W/"', head)
    at, sizes, chunks = len(HEAD), list(bare.sizes), list(bare.chunks)
    for number, chunk in enumerate(chunks):
        if at <= len(chunk):
            chunks[number] = chunk[:at] + tag + chunk[at:]
            if sizes:
                sizes[number] = b"%x\r\n" % len(chunks[number])
            break
        at -= len(chunk)
    return bare._replace(head=head, sizes=tuple(sizes), chunks=tuple(chunks))


def may_be_marked(bare: Answer, ask: Ask) -> bool:
    """May this answer set a visitor's cookie?"""
    return not ask.unasked and not any(b"public" in value for value in bare.values(b"cache-control"))


def without_news(answer: Answer, said: list[bytes]) -> tuple[Answer, list[str]]:
    """The answer without what one that sets a visitor's mark has, and what of that is not as it must be."""
    head, marks = MARK.subn(b"", answer.head)
    missing = [] if marks == 1 else [f"{marks} lines set the mark"]
    found = CACHE.findall(head)
    if found != [b", ".join([*said, b"private"])]:
        missing.append(f"Cache-Control is {found}, and was {said}")
    return answer._replace(head=CACHE.sub(b"", head)), missing


def _settled(value: bytes | tuple[bytes, ...]) -> bytes | tuple[bytes, ...]:
    """Without what changes from second to second."""
    if isinstance(value, tuple):
        return tuple(GENERATED.sub(rb"\1: now", one) for one in value)
    return GENERATED.sub(rb"\1: now", value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 1200 else f"{text[:800]} … {text[-400:]}"
