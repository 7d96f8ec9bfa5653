"""A Starlette site whose REVE Chat bot knows who is logged in: `uvicorn starlette_site:app`.

Environment: SITE_SECRET (any long text), the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route

from reve_middleware import ReveMiddleware, enabled, sign_out

DEV = os.environ.get("DEV") == "1"
PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}  # in your database
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>Hello, {}</h1>
<form method="post" action="/login"><input name="name"><input name="password" type="password"><button>Log in</button>
</form><form method="post" action="/logout"><button>Log out</button></form></body></html>"""


class SessionBackend(AuthenticationBackend):
    async def authenticate(self, conn):
        name = conn.session.get("user")
        return (AuthCredentials(["authenticated"]), SimpleUser(name)) if name in PEOPLE else None


async def page(request):
    return HTMLResponse(PAGE.format("member" if request.user.is_authenticated else "stranger"))


async def login(request):
    form = await request.form()
    if (form.get("name"), form.get("password")) != ("ada", "lovelace"):  # a demo; yours are hashed
        return HTMLResponse(PAGE.format("that is not the password"), 403)
    request.session["user"] = "ada"
    return RedirectResponse("/", 303)


async def logout(request):
    request.session.clear()
    sign_out()  # the bot hears no more
    return RedirectResponse("/", 303)


async def profile(request):  # what the bot may know
    return PEOPLE[request.user.username] if request.user.is_authenticated else None


pages = [Route("/", page), Route("/legal/terms", page), Route("/legal/contact", enabled(page))]
forms = [Route("/login", login, methods=["POST"]), Route("/logout", logout, methods=["POST"])]
layers = [
    Middleware(ReveMiddleware, profile=profile, exclude=("/legal/*",), dev=DEV),  # outermost
    Middleware(SessionMiddleware, secret_key=os.environ["SITE_SECRET"], https_only=not DEV),
    Middleware(AuthenticationMiddleware, backend=SessionBackend()),
]
app = Starlette(routes=pages + forms, middleware=layers)
