"""A site that gives each push to Celery, and the task that delivers it.

    pip install reve-middleware 'celery[redis]' uvicorn
    export REVE_WEBHOOK_URL=… REVE_TOKEN=… REVE_CHATBOT_ID=… REVE_SECRET_KEY=…
    uvicorn handoff_celery:app
    celery -A handoff_celery worker --concurrency 1

Latest wins, and order: Celery keeps neither. Every push becomes a message of its own, several processes take messages
at a time, and one that is tried again goes behind newer ones. `deliver` drops a push that is older than one its process
has seen: with one worker of `--concurrency 1`, never an older profile after a newer one; with more processes it happens
while pushes are tried again. Once a minute is soon enough for most sites: then one process is.

A worker that is killed: with `task_acks_late` its push is delivered by another one, at least once. On Redis that takes
the visibility timeout and up to 100 s; on RabbitMQ no time.
"""

import os
import random

from celery import Celery
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from reve_middleware import NotDelivered, ReveMiddleware, deliver

queue = Celery("handoff_celery", broker=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
queue.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": 600},  # longer than the longest wait, which is 300 s
)


@queue.task(bind=True, max_retries=None)
def tell_reve(self, push):
    try:
        deliver(push)
    except NotDelivered as error:
        back_off = random.uniform(0, min(60, 2**self.request.retries))
        raise self.retry(exc=error, countdown=max(back_off, error.retry_after or 0)) from None


def profile(request):
    user = request.cookies.get("user")  # a stand-in for your login
    return {"id": user, "name": user.title()} if user else None


async def page(request):
    return HTMLResponse("<!doctype html><html><head><title>Shop</title></head><body>…</body></html>")


app = ReveMiddleware(Starlette(routes=[Route("/", page)]), profile=profile, handoff=tell_reve.delay)
