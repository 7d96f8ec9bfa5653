"""on_result= for Prometheus and OpenTelemetry, seen through their own registries and readers."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from delivering import Results, bot, push, sending, settings
from faults import FaultServer, reply
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from prometheus_client import CollectorRegistry, generate_latest

from reve_middleware import ReveError
from reve_middleware.delivery import Result
from reve_middleware.metrics import BUCKETS, opentelemetry, prometheus

RESULTS = [
    Result("shop", "again", "status_503", 1, 0.2),
    Result("shop", "delivered", "status_204", 2, 0.1),
    Result("shop", "delivered", "status_204", 1, 0.3),
    Result("desk", "held", "status_401", 1, 7.0),
    Result("desk", "dropped", "expired", 3, 0.0),
]
COUNTS = {
    ("shop", "again", "status_503"): 1.0,
    ("shop", "delivered", "status_204"): 2.0,
    ("desk", "held", "status_401"): 1.0,
    ("desk", "dropped", "expired"): 1.0,
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def reader() -> Iterator[tuple[InMemoryMetricReader, MeterProvider]]:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    yield reader, provider
    provider.shutdown()


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """The data points of each metric, by its name and unit."""
    data = reader.get_metrics_data()
    assert data is not None
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "reve_middleware"
    return {f"{metric.name} in {metric.unit}": list(metric.data.data_points) for metric in scope.metrics}


# Prometheus ------------------------------------------------------------------------------------


def test_prometheus_counts_results(registry: CollectorRegistry) -> None:
    """Each result is counted under its bot, outcome and reason; each attempt's seconds under its bot."""
    on_result = prometheus(registry)
    for result in RESULTS:
        on_result(result)
    for (chatbot_id, outcome, reason), count in COUNTS.items():
        labels = {"bot": chatbot_id, "outcome": outcome, "reason": reason}
        assert registry.get_sample_value("reve_push_results_total", labels) == count
    assert registry.get_sample_value("reve_push_seconds_sum", {"bot": "shop"}) == pytest.approx(0.6)
    assert registry.get_sample_value("reve_push_seconds_count", {"bot": "shop"}) == 3.0
    assert registry.get_sample_value("reve_push_seconds_bucket", {"bot": "shop", "le": "0.1"}) == 1.0


def test_what_was_no_attempt_took_no_time(registry: CollectorRegistry) -> None:
    """A push that is given up without an attempt is counted, and tells nothing about how long attempts take."""
    prometheus(registry)(RESULTS[-1])
    assert b'reve_push_results_total{bot="desk",outcome="dropped",reason="expired"} 1.0' in generate_latest(registry)
    assert registry.get_sample_value("reve_push_seconds_count", {"bot": "desk"}) is None


def test_several_middlewares_share_one_registry(registry: CollectorRegistry) -> None:
    """prometheus() for a second middleware registers nothing twice, and counts into the same metrics; another registry
    has its own."""
    for result in RESULTS[1:3]:
        prometheus(registry)(result)
    labels = {"bot": "shop", "outcome": "delivered", "reason": "status_204"}
    assert registry.get_sample_value("reve_push_results_total", labels) == 2.0
    other = CollectorRegistry()
    prometheus(other)(RESULTS[1])
    assert other.get_sample_value("reve_push_results_total", labels) == 1.0


def test_the_default_registry() -> None:
    """Without a registry it is prometheus-client's own, for each middleware."""
    program = (
        "from prometheus_client import REGISTRY\n"
        "from reve_middleware.delivery import Result\n"
        "from reve_middleware.metrics import prometheus\n"
        "for on_result in (prometheus(), prometheus(), prometheus(REGISTRY)):\n"
        "    on_result(Result('b', 'delivered', 'status_204', 1, 0.1))\n"
        "print(REGISTRY.get_sample_value('reve_push_seconds_count', {'bot': 'b'}))\n"
    )
    assert run(program) == "3.0\n"


# OpenTelemetry ---------------------------------------------------------------------------------


def test_opentelemetry_counts_results(reader: tuple[InMemoryMetricReader, MeterProvider]) -> None:
    """Each result is counted under its bot, outcome and reason; each attempt's seconds under its bot."""
    on_result = opentelemetry(reader[1])
    for result in RESULTS:
        on_result(result)
    found = points(reader[0])
    assert set(found) == {"reve.push.results in {result}", "reve.push.duration in s"}
    counted: list[NumberDataPoint] = found["reve.push.results in {result}"]
    assert {tuple(dict(point.attributes or {}).items()): point.value for point in counted} == {
        (("bot", chatbot_id), ("outcome", outcome), ("reason", reason)): count
        for (chatbot_id, outcome, reason), count in COUNTS.items()
    }
    timed: list[HistogramDataPoint] = found["reve.push.duration in s"]
    assert {str(dict(point.attributes or {})): point.count for point in timed} == {
        "{'bot': 'shop'}": 3,
        "{'bot': 'desk'}": 1,
    }
    assert timed[0].explicit_bounds == BUCKETS
    assert timed[0].sum == pytest.approx(0.6)


def test_several_middlewares_share_one_meter(
    reader: tuple[InMemoryMetricReader, MeterProvider], caplog: pytest.LogCaptureFixture
) -> None:
    """opentelemetry() for a second middleware counts into the same metrics, and nothing complains."""
    for result in RESULTS[1:3]:
        opentelemetry(reader[1])(result)
    (point,) = points(reader[0])["reve.push.results in {result}"]
    assert point.value == 2
    assert caplog.records == []


def test_the_global_meter_provider() -> None:
    """Without a provider it is the global one, though that be set up after the middleware."""
    program = (
        "from opentelemetry import metrics\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.metrics.export import InMemoryMetricReader\n"
        "from reve_middleware.delivery import Result\n"
        "from reve_middleware.metrics import opentelemetry\n"
        "before, reader = opentelemetry(), InMemoryMetricReader()\n"
        "metrics.set_meter_provider(MeterProvider([reader]))\n"
        "for on_result in (before, opentelemetry(), opentelemetry(metrics.get_meter_provider())):\n"
        "    on_result(Result('b', 'delivered', 'status_204', 1, 0.1))\n"
        "(scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics\n"
        "print([sum(point.value for point in scope.metrics[0].data.data_points), len(scope.metrics)])\n"
    )
    assert run(program) == "[3, 2]\n"


# Both ------------------------------------------------------------------------------------------


def test_a_real_sender_counts(registry: CollectorRegistry, reader: tuple[InMemoryMetricReader, MeterProvider]) -> None:
    """As on_result= of a sender, both count what really happened."""
    results, counters = Results(), (prometheus(registry), opentelemetry(reader[1]))

    def on_result(result: Result) -> None:
        for counter in counters:
            counter(result)
        results(result)

    with FaultServer(reply(404)) as server:
        given = settings(bots=[bot("shop", server.url)], on_result=on_result)
        with sending(given) as sender:
            for number in range(2):
                sender.offer(push(f"canary-{number}", b"canary", bot="shop", visitor="canary"))
                results.wait_for(1)
    exposed = generate_latest(registry).decode()
    assert 'reve_push_results_total{bot="shop",outcome="dropped",reason="status_404"} 1.0' in exposed
    assert 'reve_push_results_total{bot="shop",outcome="delivered",reason="status_204"} 1.0' in exposed
    counted = points(reader[0])["reve.push.results in {result}"]
    assert sorted((point.attributes["reason"], point.value) for point in counted) == [
        ("status_204", 1),
        ("status_404", 1),
    ]
    assert "canary" not in exposed + repr(counted)


@pytest.mark.parametrize(
    ("make", "module", "text"),
    [
        (
            prometheus,
            "prometheus_client",
            "prometheus() needs prometheus-client: pip install 'reve-middleware[prometheus]'",
        ),
        (
            opentelemetry,
            "opentelemetry.metrics",
            "opentelemetry() needs opentelemetry-api: pip install 'reve-middleware[otel]'",
        ),
    ],
)
def test_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any], module: str, text: str
) -> None:
    """Without its library each says in one line what to install."""
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    with pytest.raises(ReveError) as raised:
        make()
    assert str(raised.value) == text


def test_nothing_is_imported_before_it_is_needed() -> None:
    """Importing the module imports neither library: each is imported by who uses it."""
    program = (
        "import sys, reve_middleware.metrics\n"
        "print(*{name.split('.')[0] for name in sys.modules} & {'prometheus_client', 'opentelemetry'})\n"
    )
    assert run(program) == "\n"


def run(program: str) -> str:
    """What a program prints, in an interpreter of its own, where the libraries' globals are untouched."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
