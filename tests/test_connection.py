"""How a connection comes about: which address of a host is taken, and that no socket is left behind."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reve_middleware import connection


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def until(is_true: Callable[[], bool]) -> None:
    while not is_true():  # noqa: ASYNC110
        await asyncio.sleep(0)


def connected_by_name(addresses: list[tuple[int, Any]], seconds: float = 5.0) -> Any:
    """Where the socket for a host with these addresses leads."""

    async def run() -> Any:
        async def getaddrinfo(*_: Any, **__: Any) -> Any:
            return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in addresses]

        loop = asyncio.get_running_loop()
        loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
        async with asyncio.timeout(seconds):
            sock = await connection._connected("bot.example", 443)
        with sock:
            return sock.getpeername()

    return asyncio.run(run())


def test_an_address_that_refuses_is_no_end(listening: socket.socket) -> None:
    """The next address of the host is taken."""
    refusing = ("127.0.0.1", closed_port())
    found = connected_by_name([(socket.AF_INET, refusing), (socket.AF_INET, listening.getsockname())])
    assert found == listening.getsockname()


def test_where_all_refuse_the_first_says_why() -> None:
    """One address or two: the error is that of a connection that is refused."""
    for count in (1, 2):
        with pytest.raises(ConnectionRefusedError):
            connected_by_name([(socket.AF_INET, ("127.0.0.1", closed_port()))] * count)


def test_an_address_that_hangs_holds_up_no_other(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other family has its turn before the second address of the first one; what hangs is given up."""
    monkeypatch.setattr(connection, "HAPPY_EYEBALLS_SECONDS", 0.01)
    tried: list[tuple[int, Any]] = []
    really = connection._connected_to

    async def connect(family: int, address: Any) -> socket.socket:
        tried.append((family, address))
        if family == socket.AF_INET6:
            await asyncio.get_running_loop().create_future()
        return await really(family, address)

    monkeypatch.setattr(connection, "_connected_to", connect)
    six = [(socket.AF_INET6, (f"::{number}", 443)) for number in (1, 2)]
    four = (socket.AF_INET, listening.getsockname())
    assert connected_by_name([*six, four]) == listening.getsockname()
    assert tried == [six[0], four]


def test_the_last_one_to_be_connected_is_waited_for(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow address is not given up because the next one fails."""
    monkeypatch.setattr(connection, "HAPPY_EYEBALLS_SECONDS", 0.01)
    really = connection._connected_to
    failed = asyncio.Event()

    async def connect(family: int, address: Any) -> socket.socket:
        if family == socket.AF_INET6:
            failed.set()
            raise ConnectionRefusedError
        await failed.wait()
        return await really(family, address)

    monkeypatch.setattr(connection, "_connected_to", connect)
    addresses = [(socket.AF_INET, listening.getsockname()), (socket.AF_INET6, ("::1", 443))]
    assert connected_by_name(addresses) == listening.getsockname()


@pytest.mark.parametrize("ends", ["with the winner", "without"])
def test_a_connection_that_nobody_waits_for_is_closed(
    ends: str, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two addresses connect at once, or the wait is cancelled just then: no socket is left open."""
    monkeypatch.setattr(connection, "HAPPY_EYEBALLS_SECONDS", 0.0)
    made: list[socket.socket] = []
    asked: list[Any] = []
    go = asyncio.Event()

    async def connect(family: int, address: Any) -> socket.socket:
        asked.append(address)
        await go.wait()
        made.append(socket.create_connection(address))
        return made[-1]

    monkeypatch.setattr(connection, "_connected_to", connect)

    async def run() -> None:
        async def getaddrinfo(*_: Any, **__: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listening.getsockname())] * 2

        loop = asyncio.get_running_loop()
        loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
        task = loop.create_task(connection._connected("bot.example", 443))
        await until(lambda: len(asked) == 2)
        go.set()
        await until(lambda: len(made) == 2)
        if ends == "without":
            task.cancel()
        (found,) = await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        left = [sock for sock in made if sock.fileno() >= 0]
        assert left == ([found] if isinstance(found, socket.socket) else [])
        for sock in left:
            sock.close()

    asyncio.run(run())


def test_a_flood_is_taken_no_further_than_it_is_read() -> None:
    """What a server sends unasked waits in the kernel, not in our memory, and is not lost."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(connection._Wire, sock=ours)
        flood = bytes(range(256)) * 4096
        theirs.setblocking(False)
        sending = loop.create_task(loop.sock_sendall(theirs, flood))
        await until(lambda: wire._is_paused)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(wire._come) < len(flood) / 2
        stream = connection._Stream(wire)
        got = b""
        while len(got) < len(flood):
            got += await stream.read(4096)
        assert got == flood
        await sending
        theirs.close()
        assert await stream.read(1) == b""
        await stream.aclose()

    asyncio.run(run())
