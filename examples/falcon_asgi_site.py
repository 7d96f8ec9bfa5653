"""A Falcon site (ASGI) whose REVE Chat bot knows who is logged in: `uvicorn falcon_asgi_site:app`.

Environment: SITE_SECRET (any long text), the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os

from falcon import MEDIA_HTML, HTTPForbidden, HTTPSeeOther
from falcon.asgi import App
from itsdangerous import BadSignature, URLSafeTimedSerializer

from reve_middleware import ReveMiddleware, disabled, identify, sign_out

DEV = os.environ.get("DEV") == "1"
PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}  # in your database
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>Hello, {}</h1>
<form method="post" action="/login"><input name="name"><input name="password" type="password"><button>Log in</button>
</form><form method="post" action="/logout"><button>Log out</button></form></body></html>"""
DAY = 86400  # seconds
tickets = URLSafeTimedSerializer(os.environ["SITE_SECRET"], salt="login")


class Authentication:
    async def process_request(self, req, resp):
        try:
            req.context.user = PEOPLE.get(tickets.loads(req.cookies.get("ticket", ""), max_age=DAY))
        except BadSignature:
            req.context.user = None
        identify(req.context.user)  # what the bot may know


class Page:
    async def on_get(self, req, resp):
        resp.text = PAGE.format("member" if req.context.user else "stranger")


@disabled  # no tag, and the bot is told nothing
class Press(Page): ...


class Login:
    async def on_post(self, req, resp):
        form = await req.get_media()
        if (form.get("name"), form.get("password")) != ("ada", "lovelace"):  # a demo; yours are hashed
            raise HTTPForbidden
        resp.set_cookie("ticket", tickets.dumps("ada"), max_age=DAY, secure=not DEV, same_site="Lax")
        raise HTTPSeeOther("/")


class Logout:
    async def on_post(self, req, resp):
        sign_out()  # the bot hears no more
        resp.unset_cookie("ticket")
        raise HTTPSeeOther("/")


site = App(media_type=MEDIA_HTML, middleware=[Authentication()])
for path, resource in {"/": Page(), "/press": Press(), "/login": Login(), "/logout": Logout()}.items():
    site.add_route(path, resource)
app = ReveMiddleware(site, dev=DEV)
