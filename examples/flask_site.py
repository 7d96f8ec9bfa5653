"""A Flask site whose REVE Chat bot knows who is logged in: `waitress-serve flask_site:app`.

Environment: SITE_SECRET (any long text), the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os

from flask import Flask, abort, redirect, render_template_string, request
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from reve_middleware import ReveWSGIMiddleware, disabled, sign_out

DEV = os.environ.get("DEV") == "1"
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>{{ current_user.name or "Hello" }}</h1>
<form method="post" action="/login"><input name="name"><input name="password" type="password"><button>Log in</button>
</form><form method="post" action="/logout"><button>Log out</button></form></body></html>"""


class User(UserMixin):
    def __init__(self, id, name, email):
        self.id, self.name, self.email = id, name, email


def profile(request):  # what the bot may know
    user = current_user
    return {"id": user.id, "name": user.name, "email": user.email} if user.is_authenticated else None


PEOPLE = {"7": User(7, "Ada Lovelace", "ada@example.com")}  # in your database
app = Flask(__name__)
app.config.update(SECRET_KEY=os.environ["SITE_SECRET"], SESSION_COOKIE_SECURE=not DEV, SESSION_COOKIE_SAMESITE="Lax")
app.wsgi_app = ReveWSGIMiddleware(app.wsgi_app, profile=profile, dev=DEV)
LoginManager(app).user_loader(PEOPLE.get)


@app.get("/")
def page():
    return render_template_string(PAGE)


@app.get("/press")
@disabled  # no tag, and the bot is told nothing
def press():
    return render_template_string(PAGE)


@app.post("/login")
def login():
    if (request.form["name"], request.form["password"]) != ("ada", "lovelace"):  # a demo; yours are hashed
        abort(403)
    login_user(PEOPLE["7"])
    return redirect("/", 303)


@app.post("/logout")
def logout():
    logout_user()
    sign_out()  # the bot hears no more
    return redirect("/", 303)
