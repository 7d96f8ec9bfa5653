"""One REVE bot: where its webhook is, and what opens it. Secrets show themselves to nobody."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlsplit

from .arguments import own_signature, takes
from .errors import SettingsError

LOOPBACK = re.compile(r"localhost|.*\.localhost|127(\.\d{1,3}){3}|::1")
NEEDED = {
    "webhook_url": "the bot's webhook link, https://…",
    "token": "the webhook's token as text, or a callable that returns it",
    "chatbot_id": "the bot's id, 1 to 128 visible characters",
}
VARIABLES = ("REVE_WEBHOOK_URL", "REVE_TOKEN", "REVE_CHATBOT_ID", "REVE_SECRET_KEY")
ENV_FILES = "(Docker's --env-file keeps quotes.)"


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
        if not is_like(r"[\x21-\x7e]{1,128}", self.chatbot_id):
            wrong("chatbot_id", self.chatbot_id, NEEDED["chatbot_id"])
        for name in ("endpoint", "logout_endpoint"):
            value = getattr(self, name)
            if value is not None and not is_like(r"[A-Za-z0-9._~-]+", value):
                wrong(name, value, "the endpoint's name alone, such as 'login'")
            if value is not None and self.url(None).rstrip("/").endswith(f"/{value}"):
                raise SettingsError(
                    f"webhook_url ends with /{value}, and {name}={value!r} is appended to it: paste the link without it"
                )

    def url(self, endpoint: str | None) -> str:
        """The address of the webhook, or of one endpoint under it."""
        link: str = self.webhook_url.reveal()
        return link if endpoint is None else f"{link.rstrip('/')}/{endpoint}"


def wrong(name: str, value: Any, right: str, variable: str | None = None) -> NoReturn:
    """The one form of every complaint."""
    if variable and os.environ.get(variable) == "":
        raise SettingsError(f"{name} is missing, for {variable} in the environment is empty: it must be {right}")
    where = f" (or set {variable} in the environment{_misspelt(variable)})" if variable else ""
    if value is None or value == "":
        raise SettingsError(f"{name} is missing: it must be {right}{where}")
    raise SettingsError(f"{name}={value!r} is wrong: it must be {right}")


def _misspelt(variable: str) -> str:
    """Is another variable set that looks like this one? Only its name is told."""
    from difflib import get_close_matches

    others = [name for name in os.environ if name.startswith("REVE") and name not in VARIABLES]
    meant = get_close_matches(variable, others, 1)
    return f"; {meant[0]}, which is set there, is none of ours" if meant else ""


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
    if is_quoted(url) or url != url.strip():
        raise SettingsError(
            f"webhook_url has quotes, brackets, a blank or a line end around it: take them off. {ENV_FILES}"
        )
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
    fault = fault_of_token(token)
    if fault:
        raise SettingsError(f"token {fault}")
    return Secret(token)


def fault_of_token(token: str) -> str:
    """What is wrong with it, and the cure; empty where nothing is."""
    if re.match(r"\s*(Authorization:|Bearer\b)", token, re.IGNORECASE):
        return "begins with 'Bearer': give the token alone, that word is added"
    if token != token.strip():
        return "has a blank or a line end around it: take it off, such as with .strip()"
    if is_quoted(token):
        return f"has quotes or brackets around it: take them off. {ENV_FILES}"
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        return "has blanks, line ends or characters that no header can carry: paste it anew"
    return ""


def is_quoted(text: str) -> bool:
    """Is it between quotes, or a placeholder between angle brackets?"""
    return len(text) > 1 and text[0] + text[-1] in ("''", '""', "<>")


def check_arguments(name: str, value: Callable[..., Any], arguments: int) -> None:
    signature = own_signature(value)
    if signature is not None and not takes(signature, arguments):
        words = {0: "no argument", 1: "one argument", 3: "three arguments (chatbot_id, session_id, profile)"}
        raise SettingsError(
            f"{name}={getattr(value, '__name__', type(value).__name__)}({', '.join(signature.parameters)}) is wrong: "
            f"it is called with {words[arguments]}"
        )
