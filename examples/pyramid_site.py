"""A Pyramid site whose REVE Chat bot knows who is logged in: `waitress-serve pyramid_site:app`.

Environment: SITE_SECRET (any long text), the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os

from pyramid.authentication import AuthTktCookieHelper
from pyramid.config import Configurator
from pyramid.events import NewRequest
from pyramid.httpexceptions import HTTPForbidden, HTTPSeeOther
from pyramid.response import Response
from pyramid.security import forget, remember

from reve_middleware import ReveWSGIMiddleware, disabled, identify, sign_out

DEV = os.environ.get("DEV") == "1"
PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}  # in your database
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>Hello, {}</h1>
<form method="post" action="/login"><input name="name"><input name="password" type="password"><button>Log in</button>
</form><form method="post" action="/logout"><button>Log out</button></form></body></html>"""


class SecurityPolicy:
    def __init__(self, secret):
        tickets = AuthTktCookieHelper(secret, hashalg="sha512", wild_domain=False, http_only=True, secure=not DEV)
        self.identify, self.remember, self.forget = tickets.identify, tickets.remember, tickets.forget

    def identity(self, request):
        return PEOPLE.get((self.identify(request) or {}).get("userid"))


def tell_the_bot(event):
    identify(event.request.identity)  # what it may know


def page(request):
    return Response(PAGE.format("member" if request.identity else "stranger"))


def login(request):
    if (request.POST.get("name"), request.POST.get("password")) != ("ada", "lovelace"):  # a demo; yours are hashed
        return HTTPForbidden()
    return HTTPSeeOther("/", headers=remember(request, "ada"))


def logout(request):
    sign_out()  # the bot hears no more
    return HTTPSeeOther("/", headers=forget(request))


with Configurator() as config:
    config.set_security_policy(SecurityPolicy(os.environ["SITE_SECRET"]))
    config.add_subscriber(tell_the_bot, NewRequest)
    for path, view in {"/": page, "/press": disabled(page), "/login": login, "/logout": logout}.items():
        config.add_route(path, path, request_method="POST" if view in (login, logout) else "GET")
        config.add_view(view, route_name=path)
    app = ReveWSGIMiddleware(config.make_wsgi_app(), dev=DEV)
