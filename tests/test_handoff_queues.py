"""The examples of `handoff=`, each with its own task queue (contract §7): Celery and taskiq over a real Redis with real
worker processes that are killed, Dramatiq and Procrastinate over what they bring for tests."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from delivering import listening
from engines import CANARIES, Example, Redis, need, program, redis
from fakes import PATIENCE
from faults import Answer, FaultServer, Line, Received, reply, silence

from reve_middleware import worker

ADA = {"botId": "bot", "sessionId": "s-1", "data": {"id": "ada", "name": "Ada"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    need("redis")
    with redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    worker._forget()
    yield
    worker._forget()


class Times:
    """When each request came."""

    def __init__(self) -> None:
        self.all: list[float] = []

    def __call__(self, answer: Answer) -> Answer:
        def timed(line: Line) -> None:
            self.all.append(time.monotonic())
            answer(line)

        return timed


def webhook(*answers: Answer) -> FaultServer:
    return FaultServer(*answers, path=f"/{CANARIES['path']}")


def bodies(received: list[Received]) -> list[Any]:
    assert {one.header("Authorization") for one in received} == {f"Bearer {CANARIES['token']}"}
    return [json.loads(one.body) for one in received]


def assert_no_secret(data: bytes) -> None:
    """What waits in the task queue is the push, and no secret."""
    assert b"Ada" in data
    assert [name for name, canary in CANARIES.items() if canary.encode() in data] == []


def assert_silent(lines: list[str]) -> None:
    """What the workers print, at INFO, shows neither push nor secret."""
    assert any("tell_reve" in line for line in lines)
    assert [line for line in lines for canary in ("Ada", "s-1", *CANARIES.values()) if canary in line] == []


QUICK_CELERY = """
from handoff_celery import queue, tell_reve
once_a_second = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}
queue.conf.broker_transport_options = {"visibility_timeout": 1, **once_a_second}
"""


def test_celery(server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery: what waits in Redis holds no secret; a push whose worker is killed while it delivers is delivered by the
    next one, which waits as long as the webhook asks for."""
    need("celery")
    (tmp_path / "quick_celery.py").write_text(QUICK_CELERY)
    command = "celery -A quick_celery worker --concurrency 1 --loglevel INFO --without-mingle --without-gossip"
    times = Times()
    answers = [times(answer) for answer in (silence, reply(503, {"Retry-After": "1"}), reply(204))]
    with webhook(*answers) as bot, asyncio.Runner() as runner:
        example = Example("handoff_celery", bot.url, monkeypatch, REDIS_URL=server.url(0))
        assert example.visitor(runner).capture("s-1").json == {"status": "queued"}
        example.module.queue.close()
        assert_no_secret(server.everything(0))
        with program(tmp_path, *command.split(), **example.environment) as killed:
            bot.wait_for(1)
            killed.kill()
        with program(tmp_path, *command.split(), **example.environment) as second:
            assert bodies(bot.wait_for(3)) == [ADA] * 3
            assert second.end() == 0
        assert_silent(killed.lines + second.lines)
        assert times.all[2] - times.all[1] > 0.9
        assert b"Ada" not in server.everything(0)


QUICK_TASKIQ = """
from handoff_taskiq import look, queue, scheduler
queue.idle_timeout, queue.block = 1, 200
"""


def test_taskiq(server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """taskiq: what waits in Redis holds no secret; a push whose worker is killed while it delivers is delivered by the
    next one, as soon as another message comes, and the scheduler waits as long as the webhook asks for."""
    need("taskiq", "taskiq_redis")
    (tmp_path / "quick_taskiq.py").write_text(QUICK_TASKIQ)
    command = "taskiq worker quick_taskiq:queue --workers 1 --max-async-tasks 1"
    times = Times()
    answers = [times(answer) for answer in (silence, reply(503, {"Retry-After": "1"}), reply(204))]
    with webhook(*answers) as bot, asyncio.Runner() as runner:
        example = Example("handoff_taskiq", bot.url, monkeypatch, REDIS_URL=server.url(1))
        assert example.visitor(runner).capture("s-1").json == {"status": "queued"}
        assert_no_secret(server.everything(1))
        with program(tmp_path, *command.split(), **example.environment) as killed:
            bot.wait_for(1)
            killed.kill()
        scheduler = "taskiq scheduler quick_taskiq:scheduler --update-interval 1"
        with (
            program(tmp_path, *scheduler.split(), **example.environment) as third,
            program(tmp_path, *command.split(), **example.environment) as second,
        ):
            runner.run(example.module.look.kiq())
            assert bodies(bot.wait_for(3)) == [ADA] * 3
        assert_silent(killed.lines + second.lines + third.lines)
        assert times.all[2] - times.all[1] > 0.9
        assert_no_secret(server.everything(1))
        runner.run(example.module.queue.shutdown())


def test_dramatiq(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dramatiq: a push is delivered once, after the wait that the webhook asks for, and no error is logged."""
    need("dramatiq", "redis")
    import dramatiq
    from dramatiq.brokers.stub import StubBroker

    times, broker = Times(), StubBroker()
    with webhook(times(reply(503, {"Retry-After": "1"})), times(reply(204))) as bot, asyncio.Runner() as runner:
        example = Example("handoff_dramatiq", bot.url, monkeypatch)
        example.module.tell_reve.broker = broker
        broker.declare_actor(example.module.tell_reve)
        with listening("dramatiq") as log:
            assert example.visitor(runner).capture("s-1").json == {"status": "queued"}
            [queued] = broker.queues["default"].queue
            assert_no_secret(queued)
            running = dramatiq.Worker(broker, worker_timeout=50, worker_threads=1)
            running.start()
            try:
                broker.join("default", timeout=int(PATIENCE * 1000))
                running.join()
            finally:
                running.stop()
        assert bodies(bot.received) == [ADA] * 2
        assert log.texts() == []
        assert times.all[1] - times.all[0] > 0.9


def test_procrastinate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Procrastinate: a chat's newest push takes older ones that wait out of the queue, one that failed waits as long as
    the webhook asks for, the job of a killed worker is taken over, and no push stands in the log."""
    need("procrastinate", "psycopg")
    from procrastinate.testing import InMemoryConnector

    database = InMemoryConnector()

    def waiting() -> list[tuple[str, str]]:
        jobs = [job for job in database.jobs.values() if job["status"] == "todo"]
        return [(job["lock"], json.loads(job["args"]["push"]["body"])["data"]["name"]) for job in jobs]

    with (
        webhook(reply(503, {"Retry-After": "200"})) as bot,
        asyncio.Runner() as runner,
        listening("procrastinate") as log,
    ):
        example = Example("handoff_procrastinate", bot.url, monkeypatch)
        with example.module.queue.replace_connector(database) as queue:

            def work() -> None:
                runner.run(queue.run_worker_async(wait=False, delete_jobs="always", install_signal_handlers=False))

            for user, session in (("bob", "s-1"), ("eve", "s-2"), ("ada", "s-1")):
                assert example.visitor(runner, user).capture(session).json == {"status": "queued"}
            assert waiting() == [("bot s-2", "Eve"), ("bot s-1", "Ada")]
            assert_no_secret(repr(database.jobs).encode())
            work()
            [job] = database.jobs.values()
            assert 190 < (job["scheduled_at"] - datetime.now(UTC)).total_seconds() <= 200
            assert waiting() == [("bot s-2", "Eve")]
            job.update(status="doing", worker_id=0, scheduled_at=None)  # its worker was killed
            runner.run(queue.tasks["handoff_procrastinate.take_over"](timestamp=0))
            work()
    assert [body["data"]["name"] for body in bodies(bot.received)] == ["Eve", "Ada", "Eve"]
    assert database.jobs == {}
    assert [vars(one) for one in log.records if one.levelno >= logging.INFO and "Ada" in str(vars(one))] == []
