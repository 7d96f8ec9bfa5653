"""A Litestar site whose REVE Chat bot knows who is logged in: `uvicorn litestar_site:app`.

Environment: the README's four REVE_…, and DEV=1 for plain http on your own machine."""

import os
from typing import Annotated

from litestar import Litestar, MediaType, Request, get, post
from litestar.exceptions import PermissionDeniedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.params import Body
from litestar.response import Redirect

from reve_middleware import ReveMiddleware, identify, sign_out

DEV = os.environ.get("DEV") == "1"
PEOPLE = {"ada": {"id": 7, "name": "Ada Lovelace", "email": "ada@example.com"}}  # in your database
PAGE = """<!doctype html><html><head><title>Shop</title></head><body><h1>Hello, {}</h1>
<form method="post" action="/login"><input name="name"><input name="password" type="password"><button>Log in</button>
</form><form method="post" action="/logout"><button>Log out</button></form></body></html>"""
Form = Annotated[dict[str, str], Body(media_type="application/x-www-form-urlencoded")]


class Authentication(AbstractAuthenticationMiddleware):
    async def authenticate_request(self, connection):
        user = PEOPLE.get(connection.session.get("user"))
        identify(user)  # what the bot may know
        return AuthenticationResult(user=user, auth=None)


@get(["/", "/press"], media_type=MediaType.HTML)
async def page(request: Request) -> str:
    return PAGE.format("member" if request.user else "stranger")


@get("/users/me")
async def me(request: Request) -> dict | None:
    return request.user


@post("/login")
async def login(request: Request, data: Form) -> Redirect:
    if (data.get("name"), data.get("password")) != ("ada", "lovelace"):  # a demo; yours are hashed
        raise PermissionDeniedException
    request.set_session({"user": "ada"})
    return Redirect("/", status_code=303)


@post("/logout")
async def logout(request: Request) -> Redirect:
    request.clear_session()
    sign_out()  # the bot hears no more
    return Redirect("/", status_code=303)


layers = [ServerSideSessionConfig(secure=not DEV).middleware, Authentication]
site = Litestar([page, me, login, logout], middleware=layers)
# Litestar's layers run for routes that exist, so a new chat's visitor is looked up at one.
app = ReveMiddleware(site, subrequest="/users/me", exclude=("/press",), dev=DEV)
