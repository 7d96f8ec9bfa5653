"""A Quart site whose REVE Chat bot knows who is logged in: `hypercorn quart_site:app`.

Environment: SITE_SECRET (any long text), the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os

from quart import Quart, abort, redirect, render_template_string, request
from quart_auth import AuthUser, QuartAuth, current_user, login_user, logout_user

from reve_middleware import ReveMiddleware, enabled, identify, sign_out

DEV = os.environ.get("DEV") == "1"
PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}  # in your database
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>{{ current_user.auth_id or "Hello" }}</h1>
<form method="post" action="/login"><input name="name"><input name="password" type="password"><button>Log in</button>
</form><form method="post" action="/logout"><button>Log out</button></form></body></html>"""

app = Quart(__name__)
app.secret_key = os.environ["SITE_SECRET"]
QuartAuth(app, cookie_secure=not DEV)
app.asgi_app = ReveMiddleware(app.asgi_app, exclude=("/legal/*",), dev=DEV)


@app.before_request
async def tell_the_bot():
    identify(PEOPLE.get(current_user.auth_id))  # what it may know


@app.get("/")
@app.get("/legal/terms")
async def page():
    return await render_template_string(PAGE)


@app.get("/legal/contact")
@enabled  # though excluded
async def contact():
    return await render_template_string(PAGE)


@app.post("/login")
async def login():
    form = await request.form
    if (form.get("name"), form.get("password")) != ("ada", "lovelace"):  # a demo; yours are hashed
        abort(403)
    login_user(AuthUser("ada"))
    return redirect("/", 303)


@app.post("/logout")
async def logout():
    logout_user()
    sign_out()  # the bot hears no more
    return redirect("/", 303)
