"""What the tests of the pure rooms share: settings, requests, and drivers for the core's flows."""

from collections.abc import Generator, Iterable
from typing import Any, NamedTuple

from reve_middleware.cookie import Ids
from reve_middleware.exchange import Core
from reve_middleware.handover import Memory
from reve_middleware.messages import (
    Ask,
    Discard,
    Headers,
    LookUp,
    Note,
    Offer,
    Offered,
    ReadBody,
    Request,
    Start,
    Verb,
)
from reve_middleware.settings import Settings
from reve_middleware.visitor import Visit

KEY = "a key of the tests, and long enough too"
OLD_KEY = "an older key of the tests, long enough too"
BOT = {"webhook_url": "https://reve.example/hook/canary-path", "token": "canary-token", "chatbot_id": "bot-1"}
NOW = 1_700_000_000_000_000
"""Microseconds since the epoch."""
SECOND = 1_000_000

Pairs = Iterable[tuple[str, str]]


def make_settings(**keywords: Any) -> Settings:
    """Settings with one bot and one key, unless told otherwise."""
    one = {} if "bots" in keywords else BOT
    return Settings({**one, "secret_key": KEY, **keywords})


def make_request(method: str = "GET", path: str = "/", *pairs: tuple[str, str], **more: Any) -> Request:
    """A request's head; `pairs` are headers, with names in lower case as both shells give them."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    return Request(method, path, more.get("mount", ""), more.get("scheme", "https"), headers)


class Played(NamedTuple):
    """A flow that has come to its end."""

    verbs: list[Verb]
    """What it yielded, in order."""
    returned: Any

    def asked(self) -> list[str]:
        return [verb.what for verb in self.verbs if isinstance(verb, Ask)]

    def pushes(self) -> list[Any]:
        return [verb.push for verb in self.verbs if isinstance(verb, Offer)]

    def notes(self) -> list[tuple[str, str]]:
        return [(verb.code, verb.detail) for verb in self.verbs if isinstance(verb, Note)]

    def let_go(self) -> list[tuple[str, str]]:
        return [verb.key for verb in self.verbs if isinstance(verb, Discard)]


def play(flow: Generator[Verb, Any, Any], **answers: Any) -> Played:
    """Drive a flow by hand. `profile=`, `identity=`, `consent=`, `body=` and `looked_up=` are sent in where they
    are asked for; `offered=` is the mailbox's word. What is asked for and not given is an error."""
    verbs: list[Verb] = []
    answer: Any = None
    while True:
        try:
            verb = flow.send(answer)
        except StopIteration as stop:
            return Played(verbs, stop.value)
        verbs.append(verb)
        match verb:
            case Ask(what):
                answer = answers[what]
            case ReadBody():
                answer = answers["body"]
            case LookUp():
                answer = answers["looked_up"]
            case Offer(push):
                answer = Offered(answers.get("offered", "queued"), answers.get("at", push.at))
            case _:
                answer = None


def make_memory(*lost: tuple[str, str]) -> Memory:
    """A process's memory; `lost`: the chats whose last push the sender gave up."""
    return Memory(lambda key, at: key in lost)


def make_ids(session_id: str = "chat-1", *, captured: int = NOW, chatbot_id: str = "bot-1") -> Ids:
    return Ids(chatbot_id, session_id, captured)


ANSWERS = ("profile", "identity", "consent", "offered")


def respond(
    *pairs: tuple[str, str],
    headers: Headers | None = None,
    path: str = "/",
    visit: Visit | None = None,
    now: int = NOW,
    method: str = "GET",
    status: int = 200,
    mount: str = "",
    scheme: str = "https",
    **keywords: Any,
) -> Played:
    """One response whose head is about to be sent. What callables answer is given under their names."""
    answers = {name: keywords.pop(name) for name in ANSWERS if name in keywords}
    settings = make_settings(**{name: print for name in answers if name != "offered"}, **keywords)
    request = make_request(method, path, *pairs, mount=mount, scheme=scheme)
    flow = Core(settings, make_memory()).response(
        request, Start(status, headers or []), visit or Visit(None, mount, path), now
    )
    return play(flow, **answers)


def visiting(**said: Any) -> Visit:
    visit = Visit()
    for name, value in said.items():
        setattr(visit, name, value)
    return visit


JSON_VALUES = "text, a number, true, false, None, a list or a dict"


def no_dict(kind: str) -> str:
    """What is said of a profile that is no dict."""
    example = 'such as {"id": user.id, "name": user.name}'
    return f"the profile is a {kind}: it must be a dict of what the bot may know, {example}"


def no_json(field: str, kind: str, right: str = f"it must be {JSON_VALUES}") -> str:
    """What is said of a field that is, or holds, what is not JSON."""
    verb = "" if kind.startswith("holds ") else "is a "
    return f"field {field} {verb}{kind}, which is not JSON: {right}"
