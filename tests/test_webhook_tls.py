"""TLS faults: nothing is sent, the bot is held, and no setting turns the check off."""

import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from faults import (
    Answer,
    FaultServer,
    close_after_request,
    drip,
    raw,
    reset,
    reset_after_request,
    silence,
)
from test_attempt import attempts

from reve_middleware import webhook
from reve_middleware.outcome import Outcome
from reve_middleware.webhook import OwnClient

TLS = Outcome("hold", "tls")


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate and its key in one file."""
    openssl = shutil.which("openssl")
    assert openssl, "these tests need the openssl command"
    path = folder / f"{name.replace(':', '-')}.pem"
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=test", "-addext", f"subjectAltName={name}", "-keyout", str(path), "-out", "-"]
    made = subprocess.run([openssl, *command], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + made.stdout)
    return path


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1."""
    return certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For another host."""
    return certificate(tmp_path_factory.mktemp("tls"), "DNS:other.example")


def serving(path: Path, *answers: Answer) -> FaultServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return FaultServer(*answers, tls=context)


Trusting = Callable[[Path], Callable[[], Any]]


@pytest.fixture(params=["own", "httpx"])
def trusting(request: pytest.FixtureRequest) -> Trusting:
    """Makes a factory of clients that trust a certificate: the client that sends where none is given, and httpx's."""

    def factory_for(path: Path) -> Callable[[], Any]:
        context = ssl.create_default_context(cafile=str(path))
        if request.param == "own":
            return lambda: OwnClient(context)
        return lambda: httpx.AsyncClient(verify=context, trust_env=False)

    return factory_for


@pytest.fixture(autouse=True)
def _no_help_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)


def test_a_self_signed_certificate_is_refused(ours: Path) -> None:
    """Nothing is sent to a server that cannot prove who it is, and the bot is held."""
    with serving(ours) as server:
        assert attempts(server.url) == [TLS]
        assert server.received == []


def test_the_environment_cannot_add_an_authority(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE changes nothing: who wants another authority passes client=."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ours))
    with serving(ours) as server:
        assert attempts(server.url) == [TLS]
        assert server.received == []


def test_a_certificate_for_another_host_is_refused(theirs: Path, trusting: Trusting) -> None:
    """Trust in a certificate is not trust in every host."""
    with serving(theirs) as server:
        assert attempts(server.url, factory=trusting(theirs)) == [TLS]
        assert server.received == []


def test_an_authority_of_ones_own_works(ours: Path, trusting: Trusting) -> None:
    """With client= that trusts the certificate the push is delivered over TLS."""
    with serving(ours) as server:
        assert attempts(server.url, 2, factory=trusting(ours)) == [Outcome("delivered", "status_204", 204)] * 2
        assert server.connections == 1


def test_a_server_without_tls_is_a_tls_fault() -> None:
    """https to a port that speaks http holds the bot."""
    with FaultServer(default=lambda line: line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        assert attempts(server.url.replace("http:", "https:")) == [TLS]


@pytest.mark.parametrize("answer", [reset, lambda line: line.sock.close()], ids=["reset", "closed"])
def test_a_connection_that_ends_in_the_handshake_is_a_network_fault(answer: Answer) -> None:
    """A server that is being restarted is tried again soon, not held for five minutes."""
    with FaultServer(default=answer) as server:
        assert attempts(server.url.replace("http:", "https:")) == [Outcome("again", "network")]


def test_a_handshake_that_takes_too_long_is_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server too busy for the handshake is tried again soon, not held for five minutes."""
    monkeypatch.setattr(webhook, "CONNECT_SECONDS", 0.2)
    with FaultServer(default=silence) as server:
        assert attempts(server.url.replace("http:", "https:")) == [Outcome("again", "timeout")]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (silence, "timeout"),
        (drip(b"X-Slow: y\r\n", at_once=b"HTTP/1.1 200 OK\r\n"), "timeout"),
        (reset_after_request, "network"),
        (close_after_request, "network"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Le"), "network"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Le", then_reset=True), "network"),
    ],
)
def test_a_fault_after_the_handshake_is_no_tls_fault(
    ours: Path, answer: Answer, reason: str, trusting: Trusting
) -> None:
    """Silence and lost connections are the same over TLS as without it."""
    with serving(ours, answer) as server:
        assert attempts(server.url, seconds=1.5, factory=trusting(ours)) == [Outcome("again", reason)]
        assert len(server.received) == 1


def test_a_body_that_breaks_off_over_tls_changes_nothing(ours: Path, trusting: Trusting) -> None:
    """Once the head said 200, the push is delivered."""
    with serving(ours, raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")) as server:
        assert attempts(server.url, factory=trusting(ours)) == [Outcome("delivered", "status_200", 200)]
