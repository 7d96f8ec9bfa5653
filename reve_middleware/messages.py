"""What the shells and the core say to each other: plain values, no I/O.

The core is a set of generators. They yield the verbs below, a shell carries each one out and sends
the answer back in; what a generator returns is what the shell does to the response.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeAlias

if TYPE_CHECKING:
    from .push import Push

Header: TypeAlias = tuple[bytes, bytes]
Headers: TypeAlias = list[Header]
Flow: TypeAlias = Generator["Verb", Any, "Returned"]

Returned: TypeAlias = Any  # each flow's own annotation says what it returns


def values(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """Every value of the header `name` (given in lower case), in order."""
    length = len(name)
    return [value for key, value in headers if len(key) == length and (key == name or key.lower() == name)]


READ_BY_THE_CORE: Final = (
    b"host", b"cookie", b"content-type", b"content-length", b"content-encoding", b"origin", b"x-reve-bridge",
    b"sec-fetch-site", b"sec-fetch-dest", b"hx-request", b"hx-boosted", b"x-requested-with", b"user-agent",
)  # fmt: skip
"""The request's headers that matter to the core. A shell need bring no others."""


class Request(NamedTuple):
    """The head of a request, the same for ASGI and WSGI."""

    method: str
    path: str
    """Decoded, inside the mount."""
    mount: str
    """`root_path` or `SCRIPT_NAME`, decoded; empty at the root."""
    scheme: str
    headers: Iterable[Header]
    site_is_doubtful: bool = False
    """May a script have said what only browsers may: `Sec-Fetch-Site`?"""

    def values(self, name: bytes) -> list[bytes]:
        return values(self.headers, name)

    def one(self, name: bytes) -> bytes | None:
        """The value of a header that must not be repeated; None where it is absent or repeated."""
        found = self.values(name)
        return found[0] if len(found) == 1 else None


class Start(NamedTuple):
    """The head of a response."""

    status: int
    headers: Headers


class Answer(NamedTuple):
    """A whole response of our own."""

    status: int
    headers: Headers
    body: bytes


# The verbs -----------------------------------------------------------------------------------


class Ask(NamedTuple):
    """Ask the application's callable `settings.<what>`; answered by its value or by NO_ANSWER."""

    what: str
    """"profile", "identity" or "consent"."""


class ReadBody(NamedTuple):
    """Read the request's body; answered by bytes or by a BodyFault."""

    limit: int
    """Bytes."""
    seconds: float


class LookUp(NamedTuple):
    """Send one internal GET to the application and run `inquiry` at its response start, in its
    context; answered by a LookedUp."""

    path: str
    seconds: float
    inquiry: Callable[[Any], Generator[Any, Any, Any]]


class Offer(NamedTuple):
    """Put a push into the mailbox; answered by an Offered."""

    push: Push


class Discard(NamedTuple):
    """Nothing that was captured for this chat until now is to be pushed any more."""

    key: tuple[str, str]


class Note(NamedTuple):
    """Something a person should be told; `detail` is never a value from a client or a profile."""

    code: str
    detail: str = ""


Verb: TypeAlias = Ask | ReadBody | LookUp | Offer | Discard | Note


class _NoAnswer:
    __slots__ = ()

    def __repr__(self) -> str:
        return "NO_ANSWER"


NO_ANSWER: Final = _NoAnswer()
"""The callable raised, took too long, or was not asked."""


class Pending:
    """An answer that is not there yet; only the shell that asked knows how to wait for it."""

    __slots__ = ()


NOT_BEGUN: Final = Pending()
"""It could not be asked for without waiting."""


class Seen:
    """What a finding of "nothing new" was made of. It shows nothing: error trackers print what they find in a frame."""

    __slots__ = ("by_version", "profile", "who")

    def __init__(self, who: Any, *, by_version: bool, profile: int | None) -> None:
        """`who`: the answer of `identity=`, None where there is none; `by_version`: has the version told, without the
        profile?; `profile`: its fingerprint (push.fingerprint), None where there was none."""
        self.who = who
        self.by_version = by_version
        self.profile = profile

    def __reduce__(self) -> NoReturn:
        raise TypeError("what was found of a visitor is not pickled")


class BodyFault(NamedTuple):
    """Why a request body was not read."""

    status: int
    """413, 408, or 400 where the client went away."""


class LookedUp(NamedTuple):
    """What an internal GET brought."""

    found: Any
    """What the inquiry returned; None where there was no response start in time."""
    set_cookies: list[bytes]


class Offered(NamedTuple):
    """What the mailbox made of a push."""

    status: str
    """"queued", "current" (handed over already), "busy" (no room), "signed_out", "late" (its request began before
    the last hand-over) or "another" (the last hand-over was for somebody else)."""
    at: int
    """The instant that stands in the mark, in microseconds."""
