"""A site that gives each push to taskiq, and the task that delivers it.

    pip install reve-middleware taskiq taskiq-redis uvicorn
    export REVE_WEBHOOK_URL=… REVE_TOKEN=… REVE_CHATBOT_ID=… REVE_SECRET_KEY=… REDIS_URL=…
    uvicorn handoff_taskiq:app
    taskiq worker handoff_taskiq:queue --workers 1 --max-async-tasks 1
    taskiq scheduler handoff_taskiq:scheduler --update-interval 1

Latest wins, order: taskiq keeps neither. A worker runs up to 100 tasks at a time, and a push that is tried again comes
after newer ones. `adeliver` delivers no push that is older than one its process has seen of that chat: with one worker
of one task at a time, as above, no older profile comes after a newer one while it runs.

A worker that is killed: its push is delivered at least once, after `idle_timeout` and as soon as another message comes
(only then does the broker look; `look` is one, every minute). `Retry-After` is honoured, by the scheduler. What is
delivered stays in the stream until `maxlen` newer messages came.
"""

import os

from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from taskiq import SmartRetryMiddleware, TaskiqScheduler
from taskiq.schedule_sources import LabelScheduleSource
from taskiq.serializers import JSONSerializer
from taskiq_redis import ListRedisScheduleSource, RedisStreamBroker

from reve_middleware import NotDelivered, ReveMiddleware, adeliver

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
queue = RedisStreamBroker(URL, consumer_id="0", maxlen=10_000, idle_timeout=60_000)  # milliseconds
later = ListRedisScheduleSource(URL, serializer=JSONSerializer())
scheduler = TaskiqScheduler(queue, [later, LabelScheduleSource(queue)])


class Later(SmartRetryMiddleware):
    async def on_error(self, message, result, exception):
        message.labels["delay"] = getattr(exception, "retry_after", None) or 2
        await super().on_error(message, result, exception)


queue.add_middlewares(
    Later(1000, use_jitter=True, use_delay_exponent=True, max_delay_exponent=300, schedule_source=later)
)


@queue.task(retry_on_error=True, types_of_exceptions=[NotDelivered])
async def tell_reve(push: dict) -> None:
    await adeliver(push)


@queue.task(schedule=[{"cron": "* * * * *"}])
async def look() -> None: ...


def profile(request):
    user = request.cookies.get("user")  # a stand-in for your login
    return {"id": user, "name": user.title()} if user else None


page = HTMLResponse("<!doctype html><html><head><title>Shop</title></head><body>…</body></html>")
app = ReveMiddleware(Starlette(routes=[Route("/", lambda request: page)]), profile=profile, handoff=tell_reve.kiq)
