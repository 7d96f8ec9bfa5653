"""The figures of delivery under faults that take long: in simulated time (simulated.py).

Each function injects one fault and returns what it came to; the program tests/benchmarks/faults.py prints them at
full size, test_fault_figures.py holds smaller ones.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import NamedTuple

from delivering import push, settings
from faults import answer_bytes
from simulated import Request, Simulation, Webhook

from reve_middleware.gate import LONGEST_RETRY_AFTER, RETRY_AFTER_JITTER
from reve_middleware.push import Push


class Row(NamedTuple):
    """One line of the table."""

    fault: str
    figure: str
    """What is promised."""
    measured: str
    holds: bool


Offers = list[tuple[float, Push]]


class Story:
    """Chats whose profiles are edited again and again, and what the webhook heard of each."""

    def __init__(self, world: Simulation, chats: int, seconds: float, edits: int) -> None:
        """Each chat is edited up to so many times, at any time within `seconds`."""
        self.offers: Offers = []
        self.newest: dict[int, tuple[int, float]] = {}
        """The last edit of each chat, and when it was."""
        for chat in range(chats):
            times = sorted(world.random.uniform(0, seconds) for _ in range(world.random.randint(1, edits)))
            self.offers += [(at, push(f"s{chat}", b"%d %d" % (chat, edit))) for edit, at in enumerate(times)]
            self.newest[chat] = len(times) - 1, times[-1]

    def heard(self, webhook: Webhook) -> dict[int, list[int]]:
        heard: dict[int, list[int]] = defaultdict(list)
        for body in webhook.delivered():
            chat, edit = map(int, body.split())
            heard[chat].append(edit)
        return heard

    def missing(self, webhook: Webhook) -> list[float]:
        """When the newest edits were that never came."""
        heard = self.heard(webhook)
        return [at for chat, (edit, at) in self.newest.items() if not heard[chat] or heard[chat][-1] != edit]

    def out_of_order(self, webhook: Webhook) -> int:
        """How often an older edit came after a newer one."""
        return sum(b < a for edits in self.heard(webhook).values() for a, b in itertools.pairwise(edits))


def outage(chats: int = 2000, seconds: float = 600.0, seed: int = 1) -> list[Row]:
    """Down for a while: at first nobody listens, then 503; and everybody's profile is edited meanwhile."""
    with Simulation(seed) as world:
        webhook = Webhook(world, lambda _: 204 if world.now >= seconds else 503, 0.2, listens=False)
        story = Story(world, chats, seconds, 4)
        world.at(seconds / 2, webhook.listen)
        sender = world.run(settings(webhook.url), story.offers)
        stats = sender.stats()
    well = [request for request in webhook.requests if request.status == 204]
    missing, late = story.missing(webhook), story.out_of_order(webhook)
    too_old = [at for at in missing if well[-1].at - at > 600.0]
    fault = f"webhook down {seconds / 60:g} min (clock passed in), {chats} chat sessions updated meanwhile"
    first_second = sum(request.at < well[0].at + 1.0 for request in well)
    return [
        Row(
            fault,
            "every session younger than the limit gets its newest profile",
            f"{chats - len(missing)} got it, {len(too_old)} given up as too old, {len(missing) - len(too_old)} lost",
            len(missing) == len(too_old) and stats["waiting"] == stats["in_flight"] == 0,
        ),
        Row(fault, "0 older after newer", f"{late}", late == 0),
        Row(
            fault,
            "never more than 8 at once after it is back, 2 requests in the first second",
            f"at most {max(request.at_once for request in well)}; ramp {ramp(well)}; "
            f"{first_second} requests in the first second (each takes 0.2 s); "
            f"{sum(stats['attempts'].values()) - len(well)} attempts while it was down",
            max(request.at_once for request in well) <= 8 and first_second <= 2,
        ),
    ]


def ramp(requests: Sequence[Request]) -> str:
    """How many were at once in the first rounds: a round ends where the count begins anew."""
    counts = [request.at_once for request in requests]
    peaks = [a for a, b in itertools.pairwise([*counts, 0]) if b <= a]
    return ", ".join(map(str, peaks[:6]))


def resets(pushes: int = 1000, share: float = 0.3) -> list[Row]:
    """Connections, one for each attempt, end with RST: half of those at once, half when the request has been read."""
    whole = answer_bytes(200, {"Connection": "close"})
    with Simulation() as world:
        connections: list[float] = []

        def accepts() -> bool:
            connections.append(world.random.random())
            return connections[-1] >= share / 2

        def answer(_: Webhook) -> bytes | None:
            return None if world.random.random() < share / 2 / (1 - share / 2) else whole

        webhook = Webhook(world, answer, 0.01)
        webhook.accepts = accepts
        story = Story(world, pushes, 60.0, 1)
        stats = world.run(settings(webhook.url), story.offers).stats()
    delivered = len(story.newest) - len(story.missing(webhook))
    was_reset = stats["attempts"].get("network", 0)
    return [
        Row(
            f"{share:.0%} connections reset, {pushes} pushes",
            f"{pushes} newest delivered",
            f"{delivered}; {was_reset} of {len(connections)} connections were reset; the last came at "
            f"{webhook.requests[-1].at:.0f} s (simulated)",
            delivered == pushes == stats["delivered"] and not stats["dropped"],
        )
    ]


class Tokens:
    """An async token callable (a thread would not know of simulated time)."""

    def __init__(self, answer: Callable[[int], str]) -> None:
        self.asked = 0
        self._answer = answer

    async def __call__(self) -> str:
        self.asked += 1
        return self._answer(self.asked)


def rotation(queued: int = 200) -> list[Row]:
    """The token changes while a queue is being delivered."""
    with Simulation() as world:
        right = ["old"]

        def answer(webhook: Webhook) -> int:
            if len(webhook.requests) == queued // 10:
                right[0] = "new"
            return 204 if webhook.token == right[0] else 401

        tokens = Tokens(lambda _: right[0])
        webhook = Webhook(world, answer, 0.05)
        offers = [(0.0, push(f"s{number}")) for number in range(queued)]
        stats = world.run(settings(webhook.url, token=tokens), offers).stats()
    refused = sum(request.status == 401 for request in webhook.requests)
    return [
        Row(
            f"token rotated while {queued} are in flight",
            "callable asked once, 0 lost, at most 8 more 401s",
            f"asked {tokens.asked - 1} time, {queued - stats['delivered']} lost, {refused} 401s",
            tokens.asked == 2 and stats["delivered"] == queued and refused <= 8,
        )
    ]


WRONG_TOKENS: dict[str, Callable[[], object]] = {
    "text": lambda: "wrong",
    "a callable with no other": lambda: Tokens(lambda _: "wrong"),
    "a callable with another wrong one each time": lambda: Tokens(lambda asked: f"wrong-{asked}"),
}


def wrong_token(minutes: float = 10.0) -> list[Row]:
    """Wrong for ten minutes, with a push every 3 s or all of them queued at once; then the webhook takes it."""
    rows = []
    pushes = int(20 * minutes)
    for kind, make in WRONG_TOKENS.items():
        refused, dropped, delivered = [], 0, []
        for every in (3.0, 0.0):
            with Simulation() as world:
                webhook = Webhook(world, lambda _: 204 if world.now > 60 * minutes else 401, 0.05)
                offers = [(every * number, push(f"s{number}")) for number in range(pushes)]
                stats = world.run(settings(webhook.url, token=make()), offers).stats()
            refused.append(sum(request.status == 401 for request in webhook.requests))
            dropped += sum(stats["dropped"].values())
            delivered.append(stats["delivered"])
        rows.append(
            Row(
                f"wrong token for {minutes:g} min (clock passed in): {kind}",
                "at most 13 requests, nothing dropped",
                f"{refused[0]} requests ({refused[1]} where {pushes} were queued at once), "
                f"{dropped} dropped, {min(delivered)} of {pushes} delivered afterwards",
                max(refused) <= 13 and not dropped and delivered == [pushes, pushes],
            )
        )
    return rows


def retry_afters() -> dict[str, float | None]:
    """Header lines, good and bad, and the seconds each asks for."""
    soon = datetime.now(UTC) + timedelta(seconds=120)
    return {
        "Retry-After: 0": 0.0,
        "Retry-After: 7": 7.0,
        "Retry-After:   120  ": 120.0,
        "retry-after: 300": 300.0,
        "Retry-After: 301": 301.0,
        "Retry-After: 1000000000": 1e9,
        f"Retry-After: {'9' * 5000}": None,
        "Retry-After: -5": None,
        "Retry-After: +5": None,
        "Retry-After: 1.5": None,
        "Retry-After: 1e3": None,
        "Retry-After:": None,
        "Retry-After: soon": None,
        "Retry-After: ٣٠": None,
        "Retry-After: 120, 240": None,
        "Retry-After: 120\r\nRetry-After: 240": None,
        f"Retry-After: {format_datetime(soon, usegmt=True)}": 120.0,
        f"Retry-After: {soon:%A, %d-%b-%y %H:%M:%S} GMT": 120.0,
        "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT": None,
        "Retry-After: Wed, 99 Foo 99999 77:88:99 GMT": None,
    }


def retry_after() -> list[Row]:
    """A 503 with each form of the header, a chat for each; the time between the two requests of a chat."""
    forms = retry_afters()
    with Simulation() as world:
        lines = {f"{number}".encode(): line for number, line in enumerate(forms)}

        def answer(webhook: Webhook) -> int | bytes:
            if any(request.body == webhook.body for request in webhook.requests):
                return 204
            whole: bytes = answer_bytes(503)
            return whole.replace(b"\r\n\r\n", f"\r\n{lines[webhook.body]}\r\n\r\n".encode(), 1)

        webhook = Webhook(world, answer)
        offers = [(1000.0 * number, push(f"s{number}", body)) for number, body in enumerate(lines)]
        stats = world.run(settings(webhook.url), offers).stats()
    came: dict[bytes, list[float]] = defaultdict(list)
    for request in webhook.requests:
        came[request.body].append(request.at)
    off = []
    for body, seconds in zip(lines, forms.values(), strict=True):
        waited = came[body][1] - came[body][0]
        most = max(1.0, min(seconds or 0.0, LONGEST_RETRY_AFTER)) * (1 + RETRY_AFTER_JITTER)
        least = min(seconds or 0.0, LONGEST_RETRY_AFTER) - 3.0  # dates are whole seconds, and this machine is busy
        if len(came[body]) != 2 or not least <= waited <= most:
            off.append(f"{lines[body][:40]!r}: {waited:.1f} s")
    reasons = Counter(stats["attempts"])
    longest = max(times[-1] - times[0] for times in came.values())
    return [
        Row(
            f"Retry-After in {len(forms)} forms, good and bad",
            "0 exceptions, waits within max(back-off, min(value, 300 s)) plus jitter",
            f"{sum(reasons.values()) - reasons['status_503'] - reasons['status_204']} exceptions, "
            f"{len(off)} waits outside {'; '.join(off)}(longest {longest:.1f} s)",
            not off and reasons == {"status_503": len(forms), "status_204": len(forms)},
        )
    ]


def one_visitor(chats: int = 10_000, others: int = 100) -> list[Row]:
    """One visitor opens chat after chat while the webhook is down; others have one each."""
    with Simulation() as world:
        webhook = Webhook(world, seconds=0.01, listens=False)
        waiting: list[int] = []
        offers = [(10.0 * n / chats, push(f"s{n}", b"many", visitor="the-one")) for n in range(chats)]
        offers += [(10.0 * n / others, push(f"o{n}", b"one", visitor=f"other-{n}")) for n in range(others)]
        world.at(15.0, lambda: waiting.append(sum(world.sender.mailbox.sizes()) - others))  # type: ignore[union-attr]
        world.at(15.0, webhook.listen)
        stats = world.run(settings(webhook.url), offers).stats()
    heard = Counter(webhook.delivered())
    return [
        Row(
            f"1 visitor, {chats} chat sessions, and {others} others with one",
            f"at most 5 queued for that visitor; {others} others all delivered",
            f"{waiting[0]} queued for that visitor; {heard[b'one']} others delivered; "
            f"{stats['dropped'].get('visitor', 0)} of the visitor's gave way",
            waiting[0] <= 5 and heard[b"one"] == others,
        )
    ]
