"""The figures of delivery under faults that are quick, or that need real time: on loopback sockets (faults.py)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from delivering import Clock, Results, answered, bot, push, sending, settings
from drive import ShellKind
from faults import FaultServer, drip, reply
from figures import Row

from reve_middleware.sender import Sender
from reve_middleware.webhook import Clients, attempt

TESTS = Path(__file__).resolve().parent
MIB = 1024 * 1024
CGI = "'cgi' is deprecated"
"""Of WebOb, which an error tracker imports with Pyramid when that is there."""


def child(program: str, *arguments: str, **environment: str) -> str:
    """What a program prints, run in an interpreter of its own."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    command = [
        sys.executable,
        "-W",
        "error",
        "-W",
        f"ignore:{CGI}:DeprecationWarning",
        *([program] if program.endswith(".py") else ["-c", program]),
        *arguments,
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=TESTS,
    )
    if done.returncode:
        raise AssertionError(f"it failed:\n{done.stdout}{done.stderr}")
    return done.stdout


# The answer ------------------------------------------------------------------------------------


def dripping(timeout: float = 10.0, every: float = 0.2, pushes: int = 100) -> list[Row]:
    """A webhook takes all slots and sends a byte now and then; meanwhile pushes for another bot come."""
    results = Results()
    slow = drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000, every=every)
    with FaultServer(default=slow) as down, FaultServer() as up:
        given = settings(bots=[bot("down", down.url), bot("up", up.url)], timeout=timeout, on_result=results)
        with sending(given) as sender:
            answered(sender)
            for number in range(20):
                sender.offer(push(f"s{number}", bot="down"))
            down.wait_for(8)
            began = time.monotonic()
            for number in range(pushes):
                sender.offer(push(f"s{number}", bot="up"))
            first = results.wait_for(pushes)
            others = time.monotonic() - began
            ended = results.wait_for(8)
        longest = max(result.seconds for result in ended)
    in_front = [result for result in first if result.chatbot_id == "down"]
    return [
        Row(
            f"webhook sends a byte every {every:g} s",
            f"attempt ends within {timeout + 0.5:g} s; other bots unaffected",
            f"{longest:.2f} s at most; {pushes} pushes for another bot were delivered meanwhile, in {others:.2f} s",
            longest <= timeout + 0.5 and not in_front and {result.reason for result in ended} == {"timeout"},
        )
    ]


BOMBED = """
import sys
from pathlib import Path
from delivering import Results, push, sending, settings

def largest():  # KiB, since it was set back
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

results = Results()
with sending(settings(sys.argv[1], on_result=results, timeout=60.0)) as sender:
    for number in range(-3, int(sys.argv[2])):  # the first three warm up
        if number == 0:
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): sets the largest back to what it is now
            before = largest()
        sender.offer(push(f"s{number}"))
        assert results.next()[0] == "delivered"
    print(largest() - before)
"""


def bomb(size: int = 300 * MIB, answers: int = 10) -> list[Row]:
    """Small answers that are large when they are unpacked; another process delivers, and says how it grew."""
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()
    with FaultServer(*[reply(200)] * 3, default=reply(200, {"Content-Encoding": "gzip"}, packed)) as server:
        grown = int(child(BOMBED, server.url, str(answers))) / 1024
    return [
        Row(
            f"{len(packed) / MIB:.1f} MB that unpacks to {size // MIB} MB",
            "RSS grows at most 4 MiB",
            f"{grown:.1f} MiB after {answers} of them",
            grown <= 4.0,
        )
    ]


def redirects() -> list[Row]:
    """Redirects to a second server; with a client of ours, and with one that follows unless it is told not to."""
    results = Results()
    clients = {"ours": None, "follows": lambda: httpx.AsyncClient(follow_redirects=True, trust_env=False)}
    statuses = (301, 302, 303, 307, 308)
    with FaultServer() as second:
        for client in clients.values():
            for status in statuses:
                with (
                    FaultServer(default=reply(status, {"Location": second.url})) as first,
                    sending(settings(first.url, client=client, on_result=results)) as sender,
                ):
                    sender.offer(push())
                    assert results.next() == ("held", f"status_{status}")
        seen = second.connections
    return [
        Row(
            f"{', '.join(map(str, statuses))} to a second server",
            "it sees 0 requests",
            f"{seen} requests, {len(results.all)} pushes kept",
            seen == 0,
        )
    ]


# Through a shell -------------------------------------------------------------------------------


def given_up(kind: str = "asgi") -> list[Row]:
    """A push is given up as too old (clock passed in); then the same visitor loads a page."""
    shell, results, clock = ShellKind(kind), Results(), Clock()
    shell.webhook.answers.append((503, {"Retry-After": "300"}))
    visitor = shell.site(profile=lambda _: {"id": 1, "name": "Ada"}, on_result=results)
    sender: Sender = visitor.middleware._sender
    sender._clock = clock
    visitor.capture("s-1")
    told = [results.next()]
    visitor.get("/")
    clock.now += 601.0
    sender.offer(push("another chat", bot="bot"))  # the clock has jumped: this wakes the thread
    told += sorted(results.next() for _ in range(2))
    before = len(shell.webhook.posts)
    visitor.get("/")
    told.append(results.next())
    again = [posted.data for posted in shell.webhook.posts[before:]]
    shell.close()
    well = told == [
        ("again", "status_503"), ("delivered", "status_204"), ("dropped", "expired"), ("delivered", "status_204"),
    ]  # fmt: skip
    return [
        Row(
            f"given up as too old, then one more response of that visitor ({kind})",
            "delivered",
            f"{told[-1][0]}, {len(again)} time",
            well and again == [{"id": 1, "name": "Ada"}],
        )
    ]


# Offers ----------------------------------------------------------------------------------------


@contextmanager
def elsewhere() -> Iterator[str]:
    """A webhook in a process of its own; its address."""
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/hook"
        finally:
            process.kill()


SERVER = """
import asyncio, sys

async def serve(reader, writer):
    while head := await reader.readuntil(b"\\r\\n\\r\\n"):
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0]))
        writer.write(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")

async def main():
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def offers(count: int = 20_000, limit: float = 100e-6, rounds: int = 3) -> list[Row]:
    """Offers from an event loop while the sender delivers as fast as it can; each offer's own time. The best of some
    rounds counts, since others use this machine too."""
    body = b"x" * 1024

    async def application(sender: Sender) -> list[float]:
        times: list[float] = []
        for number in range(count):
            letter = push(f"s{number % 5000}", body, visitor=f"v{number % 5000}")
            began = time.perf_counter()
            sender.offer(letter)
            times.append(time.perf_counter() - began)
            await asyncio.sleep(0.001 if number % 20 == 0 else 0)
        return sorted(times)

    measured: list[list[float]] = []
    with elsewhere() as url:
        for _ in range(rounds):
            with sending(settings(url)) as sender:
                sender.offer(push("first"))
                measured.append(asyncio.run(application(sender)))
                delivered = sender.stats()["delivered"]
    times = min(measured, key=lambda times: times[count * 99 // 100])
    p50, p99 = times[count // 2], times[count * 99 // 100]
    return [
        Row(
            f"{count} offers to the mailbox while {delivered} pushes are delivered",
            f"p99 below {limit * 1e6:.0f} µs",
            f"p50 {p50 * 1e6:.1f} µs, p99 {p99 * 1e6:.1f} µs, the longest {times[-1] * 1e3:.1f} ms "
            f"(the best of {rounds} rounds)",
            p99 < limit,
        )
    ]


def connections(at_once: int = 50, requests: int = 500) -> list[Row]:
    """So many at once with a client each, as the sender has, and over one shared client; both against one at a time."""

    async def speed(clients: list[httpx.AsyncClient], url: str, count: int) -> float:
        """Requests in a second, with as many at once as there are clients given."""

        async def one_after_another(client: httpx.AsyncClient) -> None:
            for _ in range(count // len(clients)):
                outcome = await attempt(client, where, None, b"{}", "t", 10.0)
                assert outcome.kind == "delivered"

        where = bot("b", url)
        began = time.perf_counter()
        await asyncio.gather(*map(one_after_another, clients))
        return count / (time.perf_counter() - began)

    async def compare(url: str) -> tuple[float, float, float]:
        ready = Clients(None)
        slots = [ready.take() for _ in range(at_once)]
        async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=at_once)) as shared:
            await speed(slots, url, at_once)  # these connect, and do not count
            await speed([shared] * at_once, url, at_once)
            single = await speed(slots[:1], url, requests // 2)
            own = await speed(slots, url, requests)
            one = await speed([shared] * at_once, url, requests // 2)
        for client in slots:
            await client.aclose()
        return single, own, one

    with elsewhere() as url:
        single, own, one = asyncio.run(compare(url))
    return [
        Row(
            f"{at_once} at once, one connection per slot or one shared AsyncClient",
            "a connection per slot is no slower",
            f"{own / single:.2f} of the speed at one at a time ({single:.0f}/s); shared {one / single:.2f}; "
            f"ratio {own / one:.1f}",
            own >= one,
        )
    ]


def blocking() -> list[Row]:
    """An ASGI application with every callable and many visitors under blockbuster, without and with an outbox."""
    rows = []
    with elsewhere() as url, tempfile.TemporaryDirectory() as folder:
        for kind, arguments in (("", []), (" with an outbox", [f"{folder}/outbox.sqlite3"])):
            found = json.loads(child("blocking.py", url, *arguments))
            rows.append(
                Row(
                    f"event loop under blockbuster, {found['requests']} requests{kind}",
                    "no blocking call",
                    f"{len(found['blocking'])} {'; '.join(found['blocking'])}({found['delivered']} pushes delivered)",
                    not found["blocking"] and found["statuses"] == [200] and found["delivered"] > 0,
                )
            )
    return rows


def canaries() -> list[Row]:
    """Every fault with logs at DEBUG and sentry-sdk listening."""
    found = json.loads(child("canaries.py"))
    leaks = found["logs"] + found["tracker"]
    return [
        Row(
            f"{found['faults']} faults, everything logged at DEBUG, sentry-sdk attached with default settings",
            "0 canaries (token, e-mail, phone, session id, webhook path)",
            f"{len(leaks)} {'; '.join(leaks)}in {found['records']} records and {found['envelopes']} envelopes",
            not leaks and found["watched"] and found["faults"] >= 40,
        )
    ]
