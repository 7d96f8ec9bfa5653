"""One REVE bot: where its webhook is, and what opens it. Secrets show themselves to nobody."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlsplit

from .errors import SettingsError

LOOPBACK = re.compile(r"localhost|.*\.localhost|127(\.\d{1,3}){3}|::1")
NEEDED = {
    "webhook_url": "the bot's webhook link, https://…",
    "token": "the webhook's token as text, or a callable that returns it",
    "chatbot_id": "the bot's id, 1 to 128 visible characters",
}


class Secret:
    """A value that shows itself to nobody but who asks for it by name."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        return self.__value

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bot:
    """One REVE bot. `token` is text, or a callable (sync or async) that returns the current one.

    Raises `SettingsError` where a value is missing or wrong.
    """

    webhook_url: Any = field(default=None, repr=False)
    """The bot's webhook link; https, but for loopback addresses."""
    token: Any = field(default=None, repr=False)
    chatbot_id: str = ""
    endpoint: str | None = None
    """The name of an endpoint under the link."""
    logout_endpoint: str | None = None
    """The endpoint that is told, with empty data, when a visitor signs out."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "webhook_url", _webhook_url(self.webhook_url))
        object.__setattr__(self, "token", _token(self.token))
        if not (isinstance(self.chatbot_id, str) and re.fullmatch(r"[\x21-\x7e]{1,128}", self.chatbot_id)):
            wrong("chatbot_id", self.chatbot_id, NEEDED["chatbot_id"])
        for name in ("endpoint", "logout_endpoint"):
            value = getattr(self, name)
            if value is not None and not is_like(r"[A-Za-z0-9._~-]+", value):
                wrong(name, value, "the endpoint's name alone, such as 'login'")

    def url(self, endpoint: str | None) -> str:
        """The address of the webhook, or of one endpoint under it."""
        link: str = self.webhook_url.reveal()
        return link if endpoint is None else f"{link.rstrip('/')}/{endpoint}"


def wrong(name: str, value: Any, right: str, variable: str | None = None) -> NoReturn:
    """The one form of every complaint."""
    where = f" (or set {variable} in the environment)" if variable else ""
    if value is None or value == "":
        raise SettingsError(f"{name} is missing: it must be {right}{where}")
    raise SettingsError(f"{name}={value!r} is wrong: it must be {right}")


def is_like(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _webhook_url(url: Any) -> Secret:
    right = NEEDED["webhook_url"]
    if isinstance(url, Secret):  # dataclasses.replace
        return url
    if url is None or url == "":
        wrong("webhook_url", None, right)
    if not isinstance(url, str):
        raise SettingsError(f"webhook_url is a {type(url).__name__}: it must be {right}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not re.fullmatch(r"[\x21-\x7e]+", url):
        raise SettingsError(f"webhook_url is no address: it must be {right}")
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsError(f"webhook_url has a user name, a query or a fragment: it must be {right}, alone")
    if parts.scheme != "https" and not (parts.scheme == "http" and LOOPBACK.fullmatch(host)):
        raise SettingsError(
            f"webhook_url begins with {parts.scheme!r}: it must be {right} (http is for loopback addresses alone)"
        )
    return Secret(url)


def _token(token: Any) -> Secret | Callable[[], Any]:
    if token is None or token == "":
        wrong("token", None, NEEDED["token"])
    if callable(token):
        check_arguments("token", token, 0)
        return token  # type: ignore[no-any-return]
    if isinstance(token, Secret):
        return token
    if not isinstance(token, str):
        raise SettingsError(f"token is a {type(token).__name__}: it must be text, or a callable that returns text")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise SettingsError("token has blanks, line ends or characters that no header can carry: paste it anew")
    return Secret(token)


def check_arguments(name: str, value: Callable[..., Any], arguments: int) -> None:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some builtins have none
        return
    try:
        signature.bind(*range(arguments))
    except TypeError:
        words = {0: "no argument", 1: "one argument", 3: "three arguments (chatbot_id, session_id, profile)"}
        raise SettingsError(
            f"{name}={getattr(value, '__name__', type(value).__name__)}({', '.join(signature.parameters)}) is wrong: "
            f"it is called with {words[arguments]}"
        ) from None
