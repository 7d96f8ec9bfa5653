"""A site that gives each push to Celery, and the task that delivers it.

    pip install reve-middleware 'celery[redis]' uvicorn
    export REVE_WEBHOOK_URL=… REVE_TOKEN=… REVE_CHATBOT_ID=… REVE_SECRET_KEY=… REDIS_URL=…
    uvicorn handoff_celery:app
    celery -A handoff_celery worker --concurrency 1

Latest wins, order: Celery keeps neither. Each push is a message of its own, several processes take messages at a time,
and a push that is tried again comes after newer ones. What is kept is `deliver`'s own: a process delivers no push that
is older than one it has seen of that chat. So with one worker of `--concurrency 1` no older profile comes after a newer
one while it runs; with more it can, while pushes are tried again.

A worker that is killed (`kill -9`, power): its push is delivered by another one, at least once. On Redis that takes the
visibility timeout below and up to 100 s; on RabbitMQ it is at once. `Retry-After` is honoured.
"""

import os

from celery import Celery
from celery.utils.time import get_exponential_backoff_interval
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
    broker_transport_options={"visibility_timeout": 600},  # more than the longest wait, which is 300 s
    task_repr_maxlevels=1,  # what Flower and the log show of a push: {...}
)


@queue.task(bind=True, max_retries=None)
def tell_reve(self, push):
    try:
        deliver(push)
    except NotDelivered as error:
        back_off = get_exponential_backoff_interval(1, self.request.retries, maximum=60, full_jitter=True)
        raise self.retry(exc=error, countdown=max(back_off, error.retry_after or 0)) from None


def profile(request):
    user = request.cookies.get("user")  # a stand-in for your login
    return {"id": user, "name": user.title()} if user else None


page = HTMLResponse("<!doctype html><html><head><title>Shop</title></head><body>…</body></html>")
app = ReveMiddleware(Starlette(routes=[Route("/", lambda request: page)]), profile=profile, handoff=tell_reve.delay)
