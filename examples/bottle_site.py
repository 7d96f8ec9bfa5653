"""A Bottle site whose REVE Chat bot knows who is logged in: `waitress-serve bottle_site:app`.

Environment: SITE_SECRET (any long text), the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os

from bottle import Bottle, abort, redirect, request, response

from reve_middleware import ReveWSGIMiddleware, disabled, sign_out

DEV = os.environ.get("DEV") == "1"
SECRET = os.environ["SITE_SECRET"]
PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}  # in your database
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>Hello, {}</h1>
<form method="post" action="/login"><input name="name"><input name="password" type="password"><button>Log in</button>
</form><form method="post" action="/logout"><button>Log out</button></form></body></html>"""
site = Bottle()


def current_user():
    return PEOPLE.get(request.get_cookie("user", secret=SECRET))


def profile(_):  # what the bot may know
    return current_user()


@site.get("/")
def page():
    return PAGE.format("member" if current_user() else "stranger")


@site.get("/press")
@disabled  # no tag, and the bot is told nothing
def press():
    return PAGE.format("press")


@site.post("/login")
def login():
    if (request.forms.name, request.forms.password) != ("ada", "lovelace"):  # a demo; yours are hashed
        abort(403)
    response.set_cookie("user", "ada", secret=SECRET, secure=not DEV, httponly=True, samesite="lax")
    redirect("/", 303)


@site.post("/logout")
def logout():
    response.delete_cookie("user", secure=not DEV, httponly=True, samesite="lax")
    sign_out()  # the bot hears no more
    redirect("/", 303)


app = ReveWSGIMiddleware(site, profile=profile, dev=DEV)
