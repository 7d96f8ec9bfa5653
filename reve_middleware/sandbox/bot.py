"""What the bot remembers of one conversation, and what it says. No I/O, no clock."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_MESSAGES = 200
"""Messages kept for each conversation; the oldest go first."""

MISSING = "missing"
FAILED = "failed"


@dataclass(frozen=True)
class Message:
    """One line of the conversation; `speaker` is `bot`, `visitor` or `hint` (the stand-in itself)."""

    number: int
    speaker: str
    text: str


@dataclass
class Conversation:
    """One chat session as the bot sees it."""

    session_id: str
    from_widget: bool
    """Whether the widget asked for this session; a webhook call may name one that nobody has opened."""
    begun: bool = False
    knows: dict[str, object] = field(default_factory=dict)
    pushes: int = 0
    """How often the webhook brought something."""
    changed: dict[str, tuple[object] | None] = field(default_factory=dict)
    """What the last push changed: each field with what it was before, or `None` if it was not there."""
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=MAX_MESSAGES))
    _count: int = 0

    def begin(self, outcome: str, function: str) -> None:
        """Say the first words, once; `outcome` tells how calling the page's function went."""
        if self.begun:
            return
        self.begun = True
        if outcome == MISSING:
            self._say("hint", f"The page has no chatbot.{function}(): nobody can tell the bot who you are.")
        elif outcome == FAILED:
            self._say("hint", f"The page's chatbot.{function}() failed.")
        self._say("bot", f"Hello {self._name() or 'stranger'}!")

    def learn(self, data: Mapping[str, object]) -> None:
        """Save what arrived, and tell the visitor what is new. A field not in `data` stays as it was."""
        changed = [key for key, value in data.items() if key not in self.knows or self.knows[key] != value]
        self.pushes += 1
        self.changed = {key: (self.knows[key],) if key in self.knows else None for key in changed}
        self.knows.update(data)
        if not self.begun:
            return  # the first words are still to come, and will use it
        if "name" in changed and self._name():
            self._say("bot", f"Hello {self._name()}!")
            return
        for key in changed:
            self._say("bot", f"I now have your {key}: {show(data[key])}")

    def forget(self) -> None:
        """The visitor has logged out."""
        knew = bool(self.knows)
        self.pushes += 1
        self.changed = {}
        self.knows.clear()
        if self.begun and knew:
            self._say("bot", "Goodbye.")
            self._say("hint", "The bot has forgotten you. It asks again in a new conversation.")

    def hear(self, text: str) -> None:
        """The visitor wrote something; the bot answers."""
        self._say("visitor", text)
        words = {word.strip("?!.,;:'\"").casefold() for word in text.split()}
        asked = [key for key in self.knows if key.casefold() in words]
        if asked:
            self._say("bot", " ".join(f"Your {key} is {show(self.knows[key])}." for key in asked))
        elif self._name():
            self._say("bot", f"{self._name()}, you said “{text}”. Ask me for anything in the table.")
        else:
            self._say("bot", f"You said “{text}”. I do not know who you are.")

    def since(self, number: int) -> list[Message]:
        """The messages after `number`."""
        return [message for message in self.messages if message.number > number]

    def _name(self) -> str:
        name = self.knows.get("name")
        return "" if name is None else show(name)

    def _say(self, speaker: str, text: str) -> None:
        self._count += 1
        self.messages.append(Message(self._count, speaker, text))


def show(value: object) -> str:
    """A value as a visitor reads it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
