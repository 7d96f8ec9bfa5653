"""A site that gives each push to taskiq, and the task that delivers it.
"""

import os
import random
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from taskiq import SmartRetryMiddleware, TaskiqScheduler
from taskiq.serializers import JSONSerializer
from taskiq_redis import ListRedisScheduleSource, RedisStreamBroker

from reve_middleware import NotDelivered, ReveMiddleware, adeliver

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


class Later(SmartRetryMiddleware):
    async def on_error(self, message, result, exception):
        back_off = random.uniform(1, min(60, 2 ** int(message.labels.get("_retries", 0))))
        message.labels["delay"] = max(back_off, getattr(exception, "retry_after", None) or 0)
        await super().on_error(message, result, exception)


later = ListRedisScheduleSource(REDIS_URL, serializer=JSONSerializer())
queue = RedisStreamBroker(REDIS_URL, consumer_id="0", maxlen=10_000, idle_timeout=60_000)
queue.add_middlewares(Later(1_000_000, schedule_source=later, types_of_exceptions=[NotDelivered]))
scheduler = TaskiqScheduler(queue, [later])


@queue.task(retry_on_error=True)
async def tell_reve(push: dict) -> None:
    await adeliver(push)


def profile(request):
    user = request.cookies.get("user")  # a stand-in for your login
    return {"id": user, "name": user.title()} if user else None


async def page(request):
    return HTMLResponse("<!doctype html><html><head><title>Shop</title></head><body>…</body></html>")


@asynccontextmanager
async def lifespan(app):
    await queue.startup()
    yield
    await queue.shutdown()


shop = Starlette(routes=[Route("/", page)], lifespan=lifespan)
app = ReveMiddleware(shop, profile=profile, handoff=tell_reve.kiq)
