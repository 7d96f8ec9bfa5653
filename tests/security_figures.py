"""What holds under attack, counted: the long forms of tests/test_security_*.py, for tests/benchmarks/security.py."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

from drive import PAGE, ShellKind, Visitor, page
from figures import Row, one_visitor
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from security_fire import STRATEGIES, Shot, Target, fire, pieces
from security_framing import attacks, complaint, launch, report
from security_rolling import NEW, OLD, Load, OverHTTP, Workers, roll
from security_servers import PROGRAMS, Server, running, statuses
from security_slow import Pages, p99, slow_clients
from shop import Shop
from test_capture_origin import ALLOWED
from test_security_origin import FETCHES, ROWS, permissive
from test_security_origin import report as report_from
from test_security_rolling import profile

MIB = 1024
"""KiB."""
__all__ = ["one_visitor"]


# The origin rule -------------------------------------------------------------------------------------


def origin() -> list[Row]:
    """Every refused row of the tables, through both shells, bare and behind a permissive CORS layer."""
    count = accepted = cookies = pushes = 0
    rows = [(method, headers, scheme) for _, method, headers, scheme, status in ROWS if status != 200]
    rows += [("POST", headers, "https") for _, headers, ours in ALLOWED if not ours]
    rows += [(method, [("host", "shop.example"), *headers], "https") for method, headers in FETCHES.values()]
    for name in ("asgi", "wsgi"):
        shell = ShellKind(name)
        visitor = Shop().visitor(shell, allowed_origins=["https://www.shop.example"])
        for method, headers, scheme in rows:
            for application in (visitor.middleware, permissive(shell, visitor.middleware)):
                reply = report_from(shell, application, method, headers, scheme)
                count += 1
                accepted += reply.status == 200 and method != "OPTIONS"  # which the CORS layer answers
                cookies += len(reply.values("set-cookie"))
        pushes += len(visitor.pushed())
        shell.close()
    return [
        Row(
            f"{count} reports of other origins",
            "0 accepted, 0 cookies, 0 pushes",
            f"{accepted} accepted, {cookies} cookies, {pushes} pushes",
            not accepted and not cookies and not pushes,
        )
    ]


def underscores() -> list[Row]:
    """`Sec_Fetch_Site: same-origin` of a script, before, behind and without the browser's own header."""
    browser, script = b"Sec-Fetch-Site: cross-site", b"Sec_Fetch_Site: same-origin"
    forms = [script + b"\r\n" + browser, browser + b"\r\n" + script, script]
    taken = []
    with running(PROGRAMS) as servers:
        for name, server in servers.items():
            for form in forms:
                sent = report(b"cross-site", b"Cookie: user=ada", b"Connection: close").replace(browser, form)
                if statuses(server.send(sent)) != [403]:
                    taken.append(name)
    return [
        Row(
            f"a script's Sec_Fetch_Site on {len(PROGRAMS)} servers",
            "0 accepted",
            f"{len(taken)} of {len(PROGRAMS) * len(forms)} accepted {', '.join(taken)}".strip(),
            not taken,
        )
    ]


# Fire ------------------------------------------------------------------------------------------------


def shots(what: str, examples: int = 10_000) -> list[Row]:
    """Random requests of one kind, through both shells; each answer is judged (security_fire.py)."""
    found = []
    for name in ("asgi", "wsgi"):
        target = Target(name)
        try:
            seen = fire(target, what, examples)
        finally:
            target.close()
        told = ", ".join(f"{count} x {status}" for status, count in sorted(seen.items()))
        found.append(
            Row(
                f"random {what}, {name}",
                f"{examples} requests, 0 x 5xx, no exception, nothing echoed",
                f"{sum(seen.values())} requests: {told}",
                sum(seen.values()) >= examples and max(seen) < 500,
            )
        )
    return found


FRAMINGS = st.sampled_from(["length", "length", "chunks", "chunks", "none", "too short", "odd sizes", "breaks off"])


def raw(shot: Shot, framing: str) -> bytes:
    """A request as bytes on the wire."""
    lines = [b"%b /_reve/session HTTP/1.1" % shot.method.encode()]
    lines += [b"%b: %b" % header for header in shot.headers]
    if b"origin" not in dict(shot.headers):
        lines.append(b"Origin: https://shop.example")  # some servers are believed no less
    lines.append(b"Connection: close")
    body = shot.body
    if framing in ("chunks", "odd sizes"):
        lines.append(b"Transfer-Encoding: chunked")
        size = b"%x\r\n%b\r\n" if framing == "chunks" else b"0%X;a=b\r\n%b\r\n"
        body = b"".join(size % (len(piece), piece) for piece in pieces(shot) if piece) + b"0\r\n\r\n"
    elif framing != "none":
        lines.append(b"Content-Length: %d" % (len(body) // 2 if framing == "too short" else len(body)))
    if framing == "breaks off":
        body = body[: len(body) // 2]
    return b"\r\n".join([*lines, b"", body])


def wire(examples: int = 2000) -> list[Row]:
    """Random requests as bytes, to real servers."""
    return [_wire(name, examples) for name in PROGRAMS]


def _wire(name: str, examples: int) -> Row:
    came: Counter[int] = Counter()
    bad: list[bytes] = []
    with Server(name, read_seconds=0.2) as server:

        @effort(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(["headers", "chunking"]).flatmap(STRATEGIES.__getitem__), FRAMINGS)
        def shoot(shot: Shot, framing: str) -> None:
            # Not all of these servers give a client up that says no more.
            answer = server.send(raw(shot, framing), hang_up=True)
            got = [status for status in statuses(answer) if status >= 200]
            came.update(got)
            if any(status >= 500 and status not in (501, 505) for status in got):
                bad.append(answer)

        shoot()
        ran = Counter(run["status"] for run in server.ask("/runs") or [])
    told = ", ".join(f"{count} x {status}" for status, count in sorted(ran.items()))
    return Row(
        f"random bytes on the wire, {name}",
        f"{examples} requests, 0 x 5xx of ours",
        f"{sum(came.values())} answers, {sum(ran.values())} of ours: {told}{''.join(f'; {one!r}' for one in bad[:1])}",
        not bad and max(ran) < 500,
    )


def framing() -> list[Row]:
    """Requests whose end is in dispute."""
    found = []
    with running(PROGRAMS) as servers:
        for name, server in servers.items():
            findings = launch(server, attacks())
            wrong = [f"{attack.name}: {what}" for attack, one in findings if (what := complaint(attack, one))]
            twice = sum(max(len(one.outer), len(one.hidden)) > 1 for _, one in findings)
            split = sum(bool(one.hidden) for _, one in findings)
            found.append(
                Row(
                    f"{len(findings)} requests whose end is in dispute, {name}",
                    "0 run twice, 0 x 5xx of ours, 0 of another site or with another's cookies accepted",
                    f"{twice} run twice, {len(wrong)} wrong{''.join(f'; {one}' for one in wrong)} "
                    f"({split} are two requests to this server)",
                    not wrong,
                )
            )
    return found


# Slow bodies -----------------------------------------------------------------------------------------


def slow(name: str, clients: int = 200, rounds: int = 4, pages: int = 2000) -> list[Row]:
    """An ordinary page with and without slow clients, in turns; and by how much the process grows meanwhile, held
    against the same server with an application that reads the bodies itself."""
    without: list[float] = []
    with_them: list[float] = []
    ended: Counter[str] = Counter()
    grown = []
    for site in ("asgi", "bare"):
        with Server(name, site=site) as server:
            Pages(server.address).times(500)
            before = server.ask("/memory") or [0]
            for _ in range(rounds):
                if site == "asgi":
                    without += Pages(server.address).times(pages)
                with slow_clients(server.address, clients, 6.0) as told:
                    times = Pages(server.address).times(pages)
                if site == "asgi":
                    with_them += times
                    ended.update(told())
                server.ask("/runs")  # which it remembers until then
            grown.append(((server.ask("/memory") or [0])[0] - before[0]) / MIB)
    ratio = p99(with_them) / p99(without)
    return [
        Row(
            f"{clients} slow clients at once, {name}",
            "p99 of an ordinary page under 2 times its own",
            f"{p99(with_them) * 1000:.2f} ms, without them {p99(without) * 1000:.2f} ms: {ratio:.2f} times; "
            f"slow reports ended as {dict(ended)}",
            ratio < 2 and set(ended) == {"408"},
        ),
        Row(
            f"{clients * rounds} slow reports, {clients} at once, {name}",
            "at most 5 MiB more memory than without us",
            f"{grown[0]:.1f} MiB more than before, {grown[1]:.1f} MiB without us",
            grown[0] - grown[1] <= 5,
        ),
    ]


# Keys ------------------------------------------------------------------------------------------------


def rolling(visitors: int = 12) -> list[Row]:
    """The three steps through two workers under load: middlewares of one process, and servers."""
    found = []
    for name in ("asgi", "wsgi", "uvicorn h11", "gunicorn gthread"):
        with ExitStack() as stack:
            shell = ShellKind(name)
            stack.callback(shell.close)

            def make(keys: list[str], name: str = name, shell: ShellKind = shell, stack: ExitStack = stack) -> object:
                if name in ("asgi", "wsgi"):
                    return shell.wrap(shell.application(page(PAGE)), profile=profile, secret_key=keys)
                return stack.enter_context(Server(name, keys))

            workers = Workers([make([OLD]), make([OLD])])
            kind = shell if name in ("asgi", "wsgi") else OverHTTP()
            load = Load([Visitor(None, kind) for _ in range(visitors)], workers)  # type: ignore[arg-type]
            load.run(lambda load=load, workers=workers, make=make: roll(workers, load, make, 300))  # type: ignore[misc]
        found.append(
            Row(
                f"a key rolled through 2 workers under load, {name}",
                "0 rejects",
                f"{len(load.rejects)} rejects in {load.requests} requests of {visitors} visitors"
                f"{''.join(f'; {one}' for one in sorted(set(load.rejects)))}",
                not load.rejects and NEW != OLD,
            )
        )
    return found
