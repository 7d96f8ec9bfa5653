"""A site that gives each push to Procrastinate (PostgreSQL), and the task that delivers it.

    pip install reve-middleware 'psycopg[binary]' procrastinate uvicorn
    export REVE_WEBHOOK_URL=… REVE_TOKEN=… REVE_CHATBOT_ID=… REVE_SECRET_KEY=… DATABASE_URL=…
    procrastinate --app handoff_procrastinate.queue schema --apply
    uvicorn handoff_procrastinate:app
    procrastinate --app handoff_procrastinate.queue worker --concurrency 8 --delete-jobs always

Latest wins, order: both kept, over all workers and machines. Jobs of one `lock=` run one at a time, in the order they
came, also while one is tried again; a new push takes older ones that wait out of the queue. (`queueing_lock=` is no
help: it keeps the older one and refuses the newer.) A worker that is killed: its push is delivered at least once,
within 90 s, by `take_over`, without which it would hold up its chat for ever. `Retry-After` is honoured. A job that
fails for good is logged with its arguments.
"""

import logging
import os
from contextlib import asynccontextmanager

from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from reve_middleware import NotDelivered, ReveMiddleware, adeliver

for name in ("jobs", "worker"):  # their INFO shows each job's arguments
    logging.getLogger(f"procrastinate.{name}").setLevel(logging.WARNING)
queue = App(connector=PsycopgConnector(conninfo=os.environ.get("DATABASE_URL", "")))


class Later(BaseRetryStrategy):
    def get_retry_decision(self, *, exception, job):
        if not isinstance(exception, NotDelivered):
            return None
        back_off = min(60, 2**job.attempts) + job.id % 5  # not all at the same time
        return RetryDecision(retry_in={"seconds": max(back_off, exception.retry_after or 0)})


@queue.task(retry=Later())
async def tell_reve(push):
    await adeliver(push)


@queue.periodic(cron="* * * * *")
@queue.task
async def take_over(timestamp):
    for job in await queue.job_manager.get_stalled_jobs():
        await queue.job_manager.retry_job(job)


async def hand_off(push):
    chat = f"{push['chatbot_id']} {push['session_id']}"
    newest = await tell_reve.configure(lock=chat).defer_async(push=push)
    for job in await queue.job_manager.list_jobs_async(lock=chat, status="todo"):
        if job.id < newest:
            await queue.job_manager.cancel_job_by_id_async(job.id, delete_job=True)


def profile(request):
    user = request.cookies.get("user")  # a stand-in for your login
    return {"id": user, "name": user.title()} if user else None


@asynccontextmanager
async def lifespan(app):
    async with queue.open_async():
        yield


page = HTMLResponse("<!doctype html><html><head><title>Shop</title></head><body>…</body></html>")
shop = Starlette(routes=[Route("/", lambda request: page)], lifespan=lifespan)
app = ReveMiddleware(shop, profile=profile, handoff=hand_off)
