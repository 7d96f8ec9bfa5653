"""A site that gives each push to Dramatiq, and the actor that delivers it.

    pip install reve-middleware 'dramatiq[redis]' uvicorn
    export REVE_WEBHOOK_URL=… REVE_TOKEN=… REVE_CHATBOT_ID=… REVE_SECRET_KEY=… REDIS_URL=…
    uvicorn handoff_dramatiq:app
    dramatiq handoff_dramatiq --processes 1 --threads 1

Latest wins, order: Dramatiq keeps neither. Its processes and threads take messages side by side, and a push that is
tried again comes after newer ones. `deliver` delivers no push that is older than one its process has seen of that chat:
with one process of one thread, as above, no older profile comes after a newer one while it runs.

A worker that is killed: its push is delivered by another one, at least once. On Redis that is 60 s later, at the next
maintenance (one command in a thousand brings it; below, one in twenty); on RabbitMQ it is at once. `Retry-After` is
honoured. At DEBUG, and where an actor fails for good, Dramatiq logs a message with its arguments.
"""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from reve_middleware import NotDelivered, ReveMiddleware, deliver

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
dramatiq.set_broker(RedisBroker(url=REDIS_URL, maintenance_chance=50_000))


@dramatiq.actor(max_retries=None, min_backoff=1_000, max_backoff=60_000)
def tell_reve(push):
    try:
        deliver(push)
    except NotDelivered as error:
        wait = None if error.retry_after is None else int(error.retry_after * 1000)
        raise dramatiq.Retry(str(error), delay=wait) from None


def profile(request):
    user = request.cookies.get("user")  # a stand-in for your login
    return {"id": user, "name": user.title()} if user else None


page = HTMLResponse("<!doctype html><html><head><title>Shop</title></head><body>…</body></html>")
app = ReveMiddleware(Starlette(routes=[Route("/", lambda request: page)]), profile=profile, handoff=tell_reve.send)
