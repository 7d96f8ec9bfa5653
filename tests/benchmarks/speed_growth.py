"""Does a request cost more where there are more visitors, chats or bots? ASGI, JSON with a chat, for 1, 10³ and 10⁵.

    seen before    one visitor comes again, after so many others have been here
    in turn        so many visitors come in turn. What is remembered of them is bounded: where more come than that,
                   each is looked at anew, so this has a step, and no slope behind it
    chats          so many profiles wait in the mailbox (its limits are raised here) while one visitor comes again
    bots           so many bots are configured

Each against the same with 1.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterable
from typing import Any

import speed_site as site
from speed_asgi import API, Contestant, Requests, check, slices_of
from speed_memory import room_for
from speed_offering import push_of, word
from speed_rounds import Goal, Row, added, interleave

from reve_middleware import Bot, ReveMiddleware
from reve_middleware.cookie import Ids
from reve_middleware.mark import Mark
from reve_middleware.push import encode_profile
from reve_middleware.settings import Settings

PART = "growth"
SAME = Goal(1.25)
"""But for noise."""
GOALS = {"seen before": SAME, "in turn": None, "chats": SAME, "bots": SAME}
KEYWORDS: dict[str, Any] = {"profile": site.profile, "identity": site.identity}


def cookies_of(count: int, now: int) -> list[str]:
    """What `site.chats` gets from captures, made by hand: 10⁵ captures take half a minute."""
    settings = Settings(site.KEYWORDS)
    cookies, digest = settings.cookies, settings.hasher.digest
    found = []
    for number in range(count):
        ids = Ids("bot", f"chat-{number}", now)
        who, profile = site.user_of(number)
        mark = Mark(
            digest("session", "\0".join(ids.key)),
            digest("who", who),
            digest("version", "3"),
            digest("profile", encode_profile(profile)),
            now,
        )
        both = (cookies.write_ids(ids), cookies.write_mark(mark, ids, now))
        found.append("; ".join([site.OTHER_COOKIES, *(one.partition(b";")[0].decode() for one in both)]))
    return found


def bots(count: int) -> ReveMiddleware:
    some = [Bot(webhook_url="https://reve.example/hook", token="token-1", chatbot_id="bot")]
    some += [
        Bot(webhook_url=f"https://reve.example/hook/{number}", token="token-1", chatbot_id=f"bot-{number}")
        for number in range(1, count)
    ]
    return ReveMiddleware(site.json_app(), secret_key=site.KEYWORDS["secret_key"], bots=some, **KEYWORDS)


def visited(loop: asyncio.AbstractEventLoop, layer: ReveMiddleware, cookies: list[str]) -> ReveMiddleware:
    """The layer, after a request of each visitor."""

    async def visit() -> None:
        others = Requests(API, cookies)
        for _ in range(0, len(cookies), 1000):
            for scope in others.scopes(min(1000, len(cookies))):
                await layer(scope, site.receive, site.send)

    loop.run_until_complete(visit())
    return layer


def filled(layer: ReveMiddleware, count: int) -> ReveMiddleware:
    """The layer, with so many profiles of others waiting; they are put past the sender, which would deliver them."""
    for number in range(1, count + 1):
        layer._sender.mailbox.offer(push_of(word(number)), time.monotonic())
    return layer


def contestants(loop: asyncio.AbstractEventLoop, many: Iterable[int]) -> dict[str, Contestant]:
    app = site.json_app()
    cookies = cookies_of(max(many), time.time_ns() // 1000)

    def one(layer: Any) -> Contestant:
        return Contestant(layer, app, Requests(API, cookies[:1]))

    found = {}
    for count in many:
        found[f"seen before {count}"] = one(visited(loop, site.wrapped(app, **KEYWORDS), cookies[:count]))
        found[f"in turn {count}"] = Contestant(site.wrapped(app, **KEYWORDS), app, Requests(API, cookies[:count]))
        found[f"chats {count}"] = one(filled(site.wrapped(app, **KEYWORDS), count))
        found[f"bots {count}"] = one(bots(count))
    return found


def run(*, quick: bool = False) -> list[Row]:
    many = (1, 10, 30) if quick else (1, 1_000, 100_000)
    loop = asyncio.new_event_loop()
    try:
        with room_for(max(many)):
            found = contestants(loop, many)
            check(loop, found)
            gc.freeze()  # what waits is not looked through before each slice
            taken = interleave(slices_of(loop, found), *((2, 5) if quick else (61, 250)))
    finally:
        gc.unfreeze()
        loop.close()
    costs = {name: added(taken, name) for name in found}
    rows = []
    for kind, goal in GOALS.items():
        one = costs[f"{kind} 1"]
        rows.append(Row(PART, f"{kind}: 1", "", one, None))
        rows += [
            Row(PART, f"{kind}: {count}", f"{kind}: 1", costs[f"{kind} {count}"], one, goal=goal) for count in many[1:]
        ]
    return rows
