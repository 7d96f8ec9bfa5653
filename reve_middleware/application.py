"""What is wrapped: is it an application of that kind? Each mistake is one error that says what to write."""

from __future__ import annotations

import inspect
from typing import Any

from .arguments import own_signature, takes
from .asking import is_async
from .errors import SettingsError

ATTRIBUTES = {"WSGI": "wsgi_app", "ASGI": "asgi_app"}
"""Where Flask and Quart keep the application that servers call."""


def check_application(app: Any, name: str, protocol: str, misplaced: int) -> None:
    """Raises `SettingsError` unless `app` may be an application of this protocol, and nothing stands `misplaced`
    between it and the keywords."""
    if misplaced:
        raise SettingsError(
            f"{name} got {1 + misplaced} things without a name: it takes the application, and keywords, as in "
            f"app{_attribute(protocol)} = {name}(app{_attribute(protocol)}, webhook_url=…)"
        )
    article = {"ASGI": "an", "WSGI": "a"}.get(protocol, "a")
    if not callable(app):
        raise SettingsError(f"the application is a {type(app).__name__}: it must be {article} {protocol} application")
    if inspect.isclass(app) and not hasattr(app, "__await__" if protocol == "ASGI" else "__iter__"):
        raise SettingsError(
            f"the application is the class {app.__name__}: it must be an instance, such as {app.__name__}(…)"
        )
    signature = own_signature(app)
    if signature is None:
        return
    if protocol != "Django" and takes(signature, 1) and not takes(signature, 2) and not takes(signature, 3):
        raise SettingsError(
            f"the application is called with one argument, and {article} {protocol} application with "
            f"{3 if protocol == 'ASGI' else 2}: in Django's MIDDLEWARE write 'reve_middleware.django.ReveMiddleware'"
        )
    if protocol == "ASGI" and takes(signature, 2) and not takes(signature, 3):
        raise SettingsError("the application is called like a WSGI one: wrap it in ReveWSGIMiddleware")
    if protocol == "WSGI" and (is_async(app) or (takes(signature, 3) and not takes(signature, 2))):
        raise SettingsError("the application is called like an ASGI one: wrap it in ReveMiddleware")


def is_inside_itself(shell: Any) -> str:
    """The complaint where a Flask or Quart application calls the very layer that is around it; else nothing."""
    name = ATTRIBUTES.get(shell.protocol, "")
    if getattr(shell.app, "__dict__", {}).get(name) is not shell:
        return ""
    layer = type(shell).__name__
    return f"app.{name} is around app, and app calls app.{name}: write app.{name} = {layer}(app.{name}, …)"


class OfTheApplication:
    """Stands for an attribute that applications have and a layer around one has not: the `AttributeError` says why."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, shell: Any, owner: type) -> Any:
        if shell is None:
            return self
        own, app = type(shell).__name__, vars(shell).get("app")
        text = f"{own!r} object has no attribute {self._name!r}"
        if not hasattr(app, self._name):
            raise AttributeError(text)
        inner = ATTRIBUTES.get(shell.protocol, "")
        if hasattr(app, inner):
            instead = f"app.{inner} = {own}(app.{inner}, …)"
        elif hasattr(app, "add_middleware"):
            instead = f"app.add_middleware({own}, …)"
        else:
            instead = f"the result of {own}(app, …) to another name"
        raise AttributeError(f"{text}, which is that of the {type(app).__name__} in it: write {instead}; app stays app")


def _attribute(protocol: str) -> str:
    return ".wsgi_app" if protocol == "WSGI" else ""
