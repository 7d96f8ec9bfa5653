"""The keywords: frozen, checked when the object is built, secrets hidden.

One place knows every keyword: `Keywords` names them, `Settings` checks and keeps them. Each mistake is
one `SettingsError` that names the keyword, its value (never a secret's) and what would be right.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypedDict
from urllib.parse import urlsplit

from .cookie import Cookies
from .errors import SettingsError
from .mark import Hasher
from .push import Payload
from .routes import Globs, Routes

SHORTEST_KEY = 32
"""Characters."""
SESSION_ID = r"[A-Za-z0-9._:~-]{1,128}"
LOOPBACK = re.compile(r"localhost|.*\.localhost|127(\.\d{1,3}){3}|::1")
URL_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
NEEDED = {
    "webhook_url": "the bot's webhook link, https://…",
    "token": "the webhook's token as text, or a callable that returns it",
    "chatbot_id": "the bot's id, 1 to 128 visible characters",
}
TAKEN_FUNCTIONS = ("forget", "__proto__", "constructor", "prototype")


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
            _wrong("chatbot_id", self.chatbot_id, NEEDED["chatbot_id"])
        for name in ("endpoint", "logout_endpoint"):
            value = getattr(self, name)
            if value is not None and not _is(r"[A-Za-z0-9._~-]+", value):
                _wrong(name, value, "the endpoint's name alone, such as 'login'")

    def url(self, endpoint: str | None) -> str:
        """The address of the webhook, or of one endpoint under it."""
        link: str = self.webhook_url.reveal()
        return link if endpoint is None else f"{link.rstrip('/')}/{endpoint}"


class Keywords(TypedDict, total=False):
    """The keywords of `ReveMiddleware` and `ReveWSGIMiddleware`; see the README's table."""

    webhook_url: str
    token: str | Callable[[], Any]
    chatbot_id: str
    endpoint: str | None
    logout_endpoint: str | None
    bots: Sequence[Bot]
    secret_key: str | Sequence[str]
    profile: Callable[[Any], Any] | None
    identity: Callable[[Any], Any] | None
    consent: Callable[[Any], Any] | None
    routes: Sequence[str] | None
    exclude: Sequence[str]
    logout_routes: Sequence[str]
    function: str
    account_id: str | None
    inject: bool
    path: str
    subrequest: str | None
    allowed_origins: Sequence[str]
    cookie: str
    session_id_pattern: str
    dev: bool
    payload: Payload
    outbox: str | os.PathLike[str] | None
    handoff: Callable[[dict[str, Any]], Any] | None
    client: Callable[[], Any] | None
    concurrency: int
    timeout: float
    on_result: Callable[[Any], Any] | None


class Settings:
    """Every keyword, checked. Built once for each middleware; nothing changes afterwards."""

    __slots__ = (
        "_bots", "account_id", "allowed_origins", "bots", "client", "concurrency", "consent", "cookies",
        "dev", "function", "handoff", "hasher", "identity", "inject", "logout_routes", "on_result", "outbox",
        "path", "payload", "profile", "routes", "session_id", "subrequest", "timeout",
    )  # fmt: skip

    def __init__(self, keywords: Mapping[str, Any]) -> None:
        given = dict(keywords)
        for name in given:
            if name not in Keywords.__annotations__:
                from difflib import get_close_matches

                close = get_close_matches(name, Keywords.__annotations__, 1)
                raise SettingsError(
                    f"there is no keyword {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
                )
        self.bots = _bots(given)
        self._bots = {bot.chatbot_id: bot for bot in self.bots}
        secret_key = given.get("secret_key")
        secrets = _secret_keys(os.environ.get("REVE_SECRET_KEY") if secret_key is None else secret_key)

        self.profile = _callable(given, "profile", 1)
        self.identity = _callable(given, "identity", 1)
        self.consent = _callable(given, "consent", 1)
        self.on_result = _callable(given, "on_result", 1)
        self.client = _callable(given, "client", 0)
        routes = given.get("routes")
        self.routes = Routes(None if routes is None else _globs(given, "routes"), _globs(given, "exclude"))
        self.logout_routes = Globs(_globs(given, "logout_routes"))

        self.function: str = given.get("function", "identify")
        if not _is(r"[A-Za-z_$][A-Za-z0-9_$]*", self.function) or self.function in TAKEN_FUNCTIONS:
            _wrong("function", self.function, "the name the bot calls, as in chatbot.identify(…): 'identify'")
        self.account_id: str | None = given.get("account_id")
        if self.account_id is not None and not _is(r"[A-Za-z0-9_-]+", self.account_id):
            _wrong("account_id", self.account_id, "the REVE account's id as text, such as '1234567'")
        self.inject = _flag(given, "inject", True)
        self.dev = _flag(given, "dev", False)
        self.path: str = given.get("path", "/_reve")
        if not isinstance(self.path, str) or not URL_PATH.fullmatch(self.path):
            _wrong("path", self.path, "a path of plain characters without a slash at the end, such as '/_reve'")
        self.subrequest: str | None = given.get("subrequest", f"{self.path}/session")
        if self.subrequest is not None and not _is(r"/[\x21-\x7e]*", self.subrequest):
            _wrong("subrequest", self.subrequest, "a path inside the application, such as '/users/me', or None")
        self.allowed_origins = frozenset(_origins(given))
        base: str = given.get("cookie", "reve")
        if not _is(r"[A-Za-z0-9_-]{1,64}", base):
            _wrong("cookie", base, "a name of letters, digits, '-' and '_', without a prefix: 'reve'")
        self.cookies = Cookies(base, secrets, dev=self.dev)
        self.hasher = Hasher(secrets)
        self.session_id = _pattern(given.get("session_id_pattern", SESSION_ID))

        self.payload: Payload = given.get("payload", "nested")
        if self.payload not in ("nested", "flat"):
            right = "'nested', 'flat', or a callable of (chatbot_id, session_id, profile)"
            if _callable(given, "payload", 3, right) is None:
                _wrong("payload", None, right)
        self.outbox = _outbox(given.get("outbox"))
        self.handoff = _callable(given, "handoff", 1)
        if self.handoff is not None and self.outbox is not None:
            raise SettingsError("outbox and handoff are both given: the task queue keeps what it is handed")
        self.concurrency: int = _number(given, "concurrency", 8, int, 1, 64)
        self.timeout: float = _number(given, "timeout", 10.0, (int, float), 0.1, 60.0)

    def bot(self, chatbot_id: str) -> Bot:
        """The bot of that id; KeyError where it is none of ours."""
        return self._bots[chatbot_id]

    def has_bot(self, chatbot_id: str) -> bool:
        return chatbot_id in self._bots

    def __repr__(self) -> str:
        return f"<Settings for {', '.join(self._bots)}>"


def _wrong(name: str, value: Any, right: str, variable: str | None = None) -> NoReturn:
    """The one form of every complaint."""
    where = f" (or set {variable} in the environment)" if variable else ""
    if value is None or value == "":
        raise SettingsError(f"{name} is missing: it must be {right}{where}")
    raise SettingsError(f"{name}={value!r} is wrong: it must be {right}")


def _is(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _bots(given: dict[str, Any]) -> tuple[Bot, ...]:
    one = ("webhook_url", "token", "chatbot_id", "endpoint", "logout_endpoint")
    if given.get("bots") is None:
        found = {name: given[name] for name in one if given.get(name) is not None}
        for name in one[:3]:
            if name not in found and f"REVE_{name.upper()}" in os.environ:
                found[name] = os.environ[f"REVE_{name.upper()}"]
            if not found.get(name):
                _wrong(name, None, NEEDED[name], f"REVE_{name.upper()}")
        return (Bot(**found),)
    for name in one:
        if given.get(name) is not None:
            raise SettingsError(f"{name} and bots are both given: put {name} into a Bot(…) of the list")
    bots = given["bots"]
    if not isinstance(bots, (list, tuple)) or not bots or not all(isinstance(bot, Bot) for bot in bots):
        raise SettingsError("bots is wrong: it must be a list of Bot(webhook_url=…, token=…, chatbot_id=…)")
    ids = [bot.chatbot_id for bot in bots]
    for chatbot_id in ids:
        if ids.count(chatbot_id) > 1:
            _wrong("chatbot_id", chatbot_id, "different for each Bot of the list")
    return tuple(bots)


def _webhook_url(url: Any) -> Secret:
    right = NEEDED["webhook_url"]
    if isinstance(url, Secret):  # dataclasses.replace
        return url
    if url is None or url == "":
        _wrong("webhook_url", None, right)
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
        _wrong("token", None, NEEDED["token"])
    if callable(token):
        _check_arguments("token", token, 0)
        return token  # type: ignore[no-any-return]
    if isinstance(token, Secret):
        return token
    if not isinstance(token, str):
        raise SettingsError(f"token is a {type(token).__name__}: it must be text, or a callable that returns text")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise SettingsError("token has blanks, line ends or characters that no header can carry: paste it anew")
    return Secret(token)


def _secret_keys(keys: Any) -> list[str]:
    right = f"text of at least {SHORTEST_KEY} characters, or a list of such texts, newest first"
    if keys is None or keys == "" or keys == [] or keys == ():
        _wrong("secret_key", None, right, "REVE_SECRET_KEY")
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(keys, (list, tuple)) or not all(isinstance(key, str) for key in keys):
        raise SettingsError(f"secret_key is a {type(keys).__name__}: it must be {right}")
    for key in keys:
        if len(key) < SHORTEST_KEY:
            raise SettingsError(
                f"secret_key has {len(key)} characters: it must be {right}; "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
            )
        if any("\ud800" <= character <= "\udfff" for character in key):  # bytes of the environment that are no UTF-8
            raise SettingsError("secret_key has bytes that are no text: paste it anew")
    return list(keys)


def _callable(given: dict[str, Any], name: str, arguments: int, right: str = "") -> Any:
    value = given.get(name)
    if value is None:
        return None
    if not callable(value):
        _wrong(name, value, right or f"a callable of {('nothing', 'one argument')[arguments]}")
    _check_arguments(name, value, arguments)
    return value


def _check_arguments(name: str, value: Callable[..., Any], arguments: int) -> None:
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


def _texts(given: dict[str, Any], name: str, example: str) -> tuple[str, ...]:
    value = given.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        _wrong(name, value, f"a list or tuple: {name}=({value!r},)")
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(text, str) for text in value):
        _wrong(name, value, f"a list or tuple of texts, such as {example}")
    return tuple(value)


def _globs(given: dict[str, Any], name: str) -> tuple[str, ...]:
    globs = _texts(given, name, "('/account/*',)")
    for glob in globs:
        if not glob.startswith(("/", "*")):
            _wrong(name, glob, f"paths that begin with '/', such as {'/' + glob!r}")
    return globs


def _origins(given: dict[str, Any]) -> list[str]:
    origins = _texts(given, "allowed_origins", "('https://www.example.com',)")
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.\[\]:-]+", origin):
            _wrong("allowed_origins", origin, "origins as browsers send them: 'https://www.example.com'")
    return list(origins)


def _outbox(path: Any) -> str | None:
    right = "the path of a file in a folder that exists, such as 'reve.sqlite3'"
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        _wrong("outbox", path or "''", right)
    path = os.fspath(path)
    if not isinstance(path, str) or os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or "."):
        _wrong("outbox", path, right)
    return os.path.abspath(path)


def _flag(given: dict[str, Any], name: str, default: bool) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        _wrong(name, value, "True or False")
    return value


def _number(given: dict[str, Any], name: str, default: Any, kind: Any, least: float, most: float) -> Any:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
        _wrong(name, value, f"{'a whole' if kind is int else 'a'} number from {least:g} to {most:g}")
    return value


def _pattern(pattern: Any) -> re.Pattern[str]:
    right = rf"a regular expression for the whole id, such as r'{SESSION_ID}'"
    if not isinstance(pattern, str):
        _wrong("session_id_pattern", pattern, right)
    with contextlib.suppress(re.error):
        return re.compile(pattern)
    _wrong("session_id_pattern", pattern, right)
