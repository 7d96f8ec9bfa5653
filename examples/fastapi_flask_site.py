"""A FastAPI site with a Flask half, whose REVE Chat bot knows who is logged in: `uvicorn fastapi_flask_site:app`.

Environment: SITE_SECRET (any long text), the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os

from a2wsgi import WSGIMiddleware
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from flask import Flask, abort, g, redirect, request
from starlette.middleware.sessions import SessionMiddleware

from reve_middleware import ReveMiddleware, disabled, identify, sign_out

DEV = os.environ.get("DEV") == "1"
PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}  # in your database
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>Hello, {}</h1>
<form method="post" action="/old/login"><input name="name"><input name="password" type="password">
<button>Log in</button></form><form method="post" action="/old/logout"><button>Log out</button></form></body></html>"""
old = Flask(__name__)
app = FastAPI()
app.mount("/old", WSGIMiddleware(old))
app.add_middleware(SessionMiddleware, secret_key=os.environ["SITE_SECRET"], https_only=not DEV)
app.add_middleware(ReveMiddleware, subrequest="/", dev=DEV)  # added last: outermost, one for both halves


@app.get("/", response_class=HTMLResponse)
async def page(request: Request):
    user = PEOPLE.get(request.session.get("user"))
    identify(user)  # what the bot may know
    return PAGE.format("member" if user else "stranger")


@old.before_request
def share_the_session():
    g.session = request.environ["asgi.scope"]["session"]  # FastAPI's, and its login
    identify(PEOPLE.get(g.session.get("user")))


@old.post("/login")
def login():
    if (request.form["name"], request.form["password"]) != ("ada", "lovelace"):  # a demo; yours are hashed
        abort(403)
    g.session["user"] = "ada"
    return redirect("/", 303)


@old.post("/logout")
def logout():
    g.session.clear()
    sign_out()  # the bot hears no more
    return redirect("/", 303)


@old.get("/")
def old_page():
    return PAGE.format("member" if "user" in g.session else "stranger")


old.get("/press", endpoint="press")(disabled(old_page))
