"""A site that gives each push to Dramatiq, and the actor that delivers it.
"""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from reve_middleware import NotDelivered, ReveMiddleware, deliver

dramatiq.set_broker(RedisBroker(url=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")))


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


async def page(request):
    return HTMLResponse("<!doctype html><html><head><title>Shop</title></head><body>…</body></html>")


app = ReveMiddleware(Starlette(routes=[Route("/", page)]), profile=profile, handoff=tell_reve.send)
