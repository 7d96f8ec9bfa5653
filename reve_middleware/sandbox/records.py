"""What the stand-in keeps, and what it shows, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass

from .bot import Message
from .misbehaviour import Misbehaviour


@dataclass(frozen=True)
class Received:
    """One request that reached the webhook, whatever came of it."""

    number: int
    time: float
    """Seconds since the epoch."""
    method: str
    path: str
    endpoint: str | None
    headers: Mapping[str, str]
    body: bytes
    status: int
    why: str
    """Empty, or why it was refused."""
    misbehaviour: Misbehaviour | None = None
    """The one that it met."""


@dataclass(frozen=True)
class Pushed:
    """One push that was accepted."""

    session_id: str
    bot_id: str
    endpoint: str | None
    data: dict[str, object]


@dataclass(frozen=True)
class View:
    """A conversation at one moment."""

    version: int
    session_id: str
    from_widget: bool
    begun: bool
    pushes: int
    knows: dict[str, object]
    changed: dict[str, tuple[object] | None]
    messages: list[Message]


@dataclass(frozen=True)
class Overview:
    """Everything at one moment, newest first."""

    version: int
    """It grows with every change."""
    received: int
    accepted: int
    misbehaviour: Misbehaviour | None
    requests: list[Received]
    conversations: list[View]
