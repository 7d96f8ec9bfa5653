"""Metrics for `on_result=`: how many results of which kind, and how long attempts take.

    ReveMiddleware(app, on_result=prometheus(), …)        pip install 'reve-middleware[prometheus]'
    ReveMiddleware(app, on_result=opentelemetry(), …)     pip install 'reve-middleware[otel]'

    Prometheus                                      OpenTelemetry
    reve_push_results_total{bot, outcome, reason}   reve.push.results    results of attempts
    reve_push_seconds{bot}                          reve.push.duration   seconds that attempts took

Labels say which bot, and what came of it; never a person or a chat session.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from .errors import ReveError

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from prometheus_client import CollectorRegistry

    from .delivery import Result

OnResult: TypeAlias = "Callable[[Result], None]"

RESULTS = "Results of attempts to push a profile: delivered, again, held or dropped, and why."
SECONDS = "How long attempts to push a profile took."
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; an attempt has 10."""


def prometheus(registry: CollectorRegistry | None = None) -> OnResult:
    """An `on_result=` that counts with prometheus-client, into its default registry unless told otherwise.

    May be called for each of several middlewares: they share their metrics. Raises `ReveError` where
    prometheus-client is not installed.
    """
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        raise ReveError("prometheus() needs prometheus-client: pip install 'reve-middleware[prometheus]'") from None
    return _prometheus(REGISTRY if registry is None else registry)


def opentelemetry(meter_provider: MeterProvider | None = None) -> OnResult:
    """An `on_result=` that counts with OpenTelemetry's API, by the global meter provider unless told otherwise.

    May be called for each of several middlewares: they share their metrics. Raises `ReveError` where
    opentelemetry-api is not installed.
    """
    try:
        from opentelemetry.metrics import get_meter_provider
    except ImportError:
        raise ReveError("opentelemetry() needs opentelemetry-api: pip install 'reve-middleware[otel]'") from None
    return _opentelemetry(get_meter_provider() if meter_provider is None else meter_provider)


@cache  # a registry takes each name once
def _prometheus(registry: CollectorRegistry) -> OnResult:
    from prometheus_client import Counter, Histogram

    results = Counter("reve_push_results", RESULTS, ("bot", "outcome", "reason"), registry=registry)
    seconds = Histogram("reve_push_seconds", SECONDS, ("bot",), registry=registry, buckets=BUCKETS)

    def on_result(result: Result) -> None:
        results.labels(result.chatbot_id, result.outcome, result.reason).inc()
        if result.seconds:  # none, where what is too old is dropped without an attempt
            seconds.labels(result.chatbot_id).observe(result.seconds)

    return on_result


@cache
def _opentelemetry(meter_provider: MeterProvider) -> OnResult:
    meter = meter_provider.get_meter("reve_middleware")
    results = meter.create_counter("reve.push.results", "{result}", RESULTS)
    seconds = meter.create_histogram("reve.push.duration", "s", SECONDS, explicit_bucket_boundaries_advisory=BUCKETS)

    def on_result(result: Result) -> None:
        results.add(1, {"bot": result.chatbot_id, "outcome": result.outcome, "reason": result.reason})
        if result.seconds:
            seconds.record(result.seconds, {"bot": result.chatbot_id})

    return on_result
