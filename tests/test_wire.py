"""One connection: what arrives, what leaves, and how it ends, with a transport that only notes what is asked of it."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from faults import FaultServer

from reve_middleware.wire import MOST_UNREAD, Wire


class Transport(asyncio.Transport):
    """Notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def write(self, data: Any) -> None:
        self.asked.append(bytes(data))

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def abort(self) -> None:
        self.asked.append("abort")


def with_a_wire(test: Callable[[Wire, Transport], Awaitable[None]]) -> None:
    async def run() -> None:
        wire, transport = Wire(), Transport()
        wire.connection_made(transport)
        await test(wire, transport)

    asyncio.run(run())


def test_a_read_waits_and_takes_what_there_is() -> None:
    """A read ends as soon as there is something; what is written leaves at once."""

    async def test(wire: Wire, transport: Transport) -> None:
        wire.write(b"request")
        assert transport.asked == [b"request"]
        asyncio.get_running_loop().call_soon(wire.data_received, b"abc")
        assert await wire.read() == b"abc"
        wire.data_received(b"d")
        wire.data_received(b"ef")
        assert await wire.read() == b"def"

    with_a_wire(test)


def test_what_is_written_is_not_shown() -> None:
    """Not in a frame of asyncio's either, which logs them where a write fails (in its debug mode)."""
    shown: list[str] = []

    class Shown(Transport):
        def write(self, data: Any) -> None:
            shown.append(repr(data))

    wire = Wire()
    wire.connection_made(Shown())
    wire.write(b"Authorization: Bearer s3cret")
    assert len(shown) == 1
    assert "s3cret" not in shown[0]


def test_what_nobody_reads_stays_in_the_kernel() -> None:
    """A server that goes on sending is no longer listened to, until somebody reads."""

    async def test(wire: Wire, transport: Transport) -> None:
        wire.data_received(b"x" * (MOST_UNREAD - 1))
        assert transport.asked == []
        wire.data_received(b"xy")
        wire.data_received(b"z")
        assert transport.asked == ["pause"]
        assert len(await wire.read()) == MOST_UNREAD
        assert transport.asked == ["pause", "resume"]
        assert await wire.read() == b"yz"
        wire.data_received(b"more")
        assert await wire.read() == b"more"
        assert transport.asked == ["pause", "resume"]

    with_a_wire(test)


def test_a_flood_holds_up_nobody() -> None:
    """Between two reads the event loop goes round, however much has come: a deadline is kept."""

    async def test(wire: Wire, transport: Transport) -> None:
        wire.data_received(b"x" * 3 * MOST_UNREAD)
        rounds: list[int] = []
        for number in range(3):
            asyncio.get_running_loop().call_soon(rounds.append, number)
            assert len(await wire.read()) == MOST_UNREAD
            assert rounds[-1] == number

    with_a_wire(test)


@pytest.mark.parametrize("end", [lambda wire: wire.eof_received(), lambda wire: wire.connection_lost(None)])
def test_the_other_side_ends_it(end: Callable[[Wire], None]) -> None:
    """What came before the end is read, and then nothing; also by a read that was waiting."""

    async def test(wire: Wire, transport: Transport) -> None:
        wire.data_received(b"last")
        asyncio.get_running_loop().call_soon(end, wire)
        assert [await wire.read(), await wire.read(), await wire.read()] == [b"last", b"", b""]

    with_a_wire(test)


def test_a_fault_is_told() -> None:
    """A connection that breaks says why, after what came before."""

    async def test(wire: Wire, transport: Transport) -> None:
        fault = ssl.SSLError("alert")
        wire.data_received(b"last")
        wire.connection_lost(fault)
        assert await wire.read() == b"last"
        for _ in range(2):
            with pytest.raises(ConnectionError) as raised:
                await wire.read()
            assert raised.value.__cause__ is fault
        assert fault.__traceback__ is None, "it holds no frames of who has read"

    with_a_wire(test)


def test_a_read_that_is_given_up() -> None:
    """At the deadline a read is cancelled: what comes after it is no error, and not lost."""

    async def test(wire: Wire, transport: Transport) -> None:
        reading = asyncio.ensure_future(wire.read())
        await asyncio.sleep(0)
        reading.cancel()
        wire.data_received(b"late")
        wire.data_received(b"r")
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await wire.read() == b"later"

    with_a_wire(test)


def test_who_speaks_unasked_is_not_asked_again() -> None:
    """A connection with unread bytes, or one that ended, is told from one that is merely idle."""

    async def test(wire: Wire, transport: Transport) -> None:
        assert await wire.is_quiet()
        wire.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert not await wire.is_quiet()
        await wire.read()
        assert await wire.is_quiet()
        wire.eof_received()
        assert not await wire.is_quiet()

    with_a_wire(test)


def at_addresses(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """A name has these addresses."""

    async def getaddrinfo(self: object, *_: object, **__: object) -> list[Any]:
        kinds = socket.SOCK_STREAM, socket.SOCK_DGRAM  # glibc says an address once for each kind
        return [(socket.AF_INET, kind, 0, "", (address, 443)) for address in addresses for kind in kinds]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)


def connecting(monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, Exception | None]) -> list[str]:
    """What becomes of each address: it fails, it is silent (None), or, where it is not named, it is connected to. The
    addresses as they are tried."""
    tried: list[str] = []

    async def sock_connect(self: object, sock: object, address: tuple[str, int]) -> None:
        tried.append(address[0])
        if address[0] in outcomes:
            fault = outcomes[address[0]]
            if fault is None:
                await asyncio.Event().wait()
            assert fault is not None
            raise fault

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", sock_connect)
    shaking_hands(monkeypatch, 0.0)
    return tried


def shaking_hands(monkeypatch: pytest.MonkeyPatch, seconds: float, fault: Exception | None = None) -> None:
    """The handshake takes so long, and ends so."""

    async def create_connection(self: object, factory: Callable[[], Wire], sock: socket.socket, **_: object) -> Any:
        with sock:
            await asyncio.sleep(seconds)
            if fault is not None:
                raise fault
            return None, factory()

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "create_connection", create_connection)


@pytest.mark.parametrize("fault", [None, ConnectionRefusedError(), OSError("no route to host")])
def test_of_several_addresses_one_that_fails_is_left(monkeypatch: pytest.MonkeyPatch, fault: Exception | None) -> None:
    """An address that refuses, or does not answer within its share of the time, keeps nobody from the next one."""
    at_addresses(monkeypatch, "192.0.2.1", "192.0.2.2", "192.0.2.3")
    tried = connecting(monkeypatch, {"192.0.2.1": fault})
    seconds = 0.3 if fault is None else 20.0
    assert isinstance(asyncio.run(Wire.connect("reve.example", 443, None, seconds)), Wire)
    assert tried == ["192.0.2.1", "192.0.2.2"]


def test_no_address_can_be_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one's fault is what is told; nothing takes longer than all of it may."""
    at_addresses(monkeypatch, "192.0.2.1", "192.0.2.2")
    connecting(monkeypatch, {"192.0.2.1": OSError(), "192.0.2.2": ConnectionRefusedError()})
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(Wire.connect("reve.example", 443, None, 20.0))
    connecting(monkeypatch, {"192.0.2.1": None, "192.0.2.2": None})
    with pytest.raises(TimeoutError):
        asyncio.run(Wire.connect("reve.example", 443, None, 0.02))
    at_addresses(monkeypatch)
    with pytest.raises(ConnectionError):
        asyncio.run(Wire.connect("reve.example", 443, None, 20.0))


def test_a_certificate_that_is_wrong_is_wrong_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers for a name with another's certificate is not passed over: a person has to hear of it."""
    at_addresses(monkeypatch, "192.0.2.1", "192.0.2.2")
    tried = connecting(monkeypatch, {})
    shaking_hands(monkeypatch, 0.0, ssl.SSLCertVerificationError())
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(Wire.connect("reve.example", 443, ssl.create_default_context(), 20.0))
    assert tried == ["192.0.2.1"]


def test_a_handshake_may_take_all_the_time_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook that is far away, or slow, is reached however many addresses it has: only those that do not answer at
    all are left for the next."""
    at_addresses(monkeypatch, *(f"192.0.2.{number}" for number in range(1, 9)))
    tried = connecting(monkeypatch, {})
    shaking_hands(monkeypatch, 0.2)
    assert isinstance(asyncio.run(Wire.connect("reve.example", 443, ssl.create_default_context(), 1.0)), Wire)
    assert tried == ["192.0.2.1"]
    with pytest.raises(TimeoutError):
        asyncio.run(Wire.connect("reve.example", 443, ssl.create_default_context(), 0.02))


def test_a_name_that_nobody_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    """To look a name up counts into the time."""

    async def getaddrinfo(self: object, *_: object, **__: object) -> list[Any]:
        return await asyncio.Future()  # type: ignore[no-any-return]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    with pytest.raises(TimeoutError):
        asyncio.run(Wire.connect("reve.example", 443, None, 0.01))


class PlainLoop(asyncio.SelectorEventLoop):
    """An event loop with no more than uvloop's has: `asyncio`'s own know further keywords."""

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Any,
        host: Any = None,
        port: Any = None,
        *,
        ssl: Any = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: Any = None,
        local_addr: Any = None,
        server_hostname: Any = None,
    ) -> Any:
        return await super().create_connection(
            protocol_factory, host, port, ssl=ssl, sock=sock, server_hostname=server_hostname
        )


def test_any_event_loop_will_do() -> None:
    """A worker of a task queue brings its own event loop."""

    async def run(port: int) -> None:
        wire = await Wire.connect("localhost", port, None, 20.0)
        wire.write(b"POST / HTTP/1.1\r\n\r\n")
        assert (await wire.read()).startswith(b"HTTP/1.1 204")
        await wire.aclose()

    with FaultServer() as server, asyncio.Runner(loop_factory=PlainLoop) as runner:
        runner.run(run(server.port))


def test_it_is_closed_at_once() -> None:
    """Closing waits for nobody, and leaves no socket behind when the loop ends."""

    async def run(port: int) -> None:
        wire = await Wire.connect("127.0.0.1", port, None, 20.0)
        await wire.aclose()
        assert await wire.read() == b""

    with FaultServer() as server:
        asyncio.run(run(server.port))
        assert server.received == []
