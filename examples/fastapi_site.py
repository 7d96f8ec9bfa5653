"""A FastAPI site whose REVE Chat bot knows who is logged in: `uvicorn fastapi_site:app`.

Environment: SITE_SECRET (any long text), the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os
from typing import Annotated

from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

from reve_middleware import ReveMiddleware, disabled, identify, sign_out

DEV = os.environ.get("DEV") == "1"
PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}  # in your database
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>Hello, {}</h1>
<form method="post" action="/login"><input name="name"><input name="password" type="password"><button>Log in</button>
</form><form method="post" action="/logout"><button>Log out</button></form></body></html>"""

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key=os.environ["SITE_SECRET"], https_only=not DEV)
# Added last: outermost. Dependencies run for routes that exist, so a new chat's visitor is looked up at one.
app.add_middleware(ReveMiddleware, subrequest="/users/me", dev=DEV)


async def current_user(request: Request) -> dict | None:
    user = PEOPLE.get(request.session.get("user"))
    identify(user)  # what the bot may know
    return user


@app.get("/", response_class=HTMLResponse)
async def page(user: Annotated[dict | None, Depends(current_user)]):
    return PAGE.format("member" if user else "stranger")


@app.get("/press", response_class=HTMLResponse)
@disabled  # no tag, and the bot is told nothing
async def press(user: Annotated[dict | None, Depends(current_user)]):
    return PAGE.format("press")


@app.get("/users/me")
async def me(user: Annotated[dict | None, Depends(current_user)]):
    return user


@app.post("/login")
async def login(request: Request, name: Annotated[str, Form()], password: Annotated[str, Form()]):
    if (name, password) != ("ada", "lovelace"):  # a demo; yours are hashed
        raise HTTPException(403)
    request.session["user"] = name
    return RedirectResponse("/", 303)


@app.post("/logout")
async def logout(request: Request):
    request.session.clear()
    sign_out()  # the bot hears no more
    return RedirectResponse("/", 303)
