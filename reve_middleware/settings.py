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
from typing import Any, NoReturn, TypedDict

from .bot import NEEDED, Bot, check_arguments, is_like, wrong
from .cookie import Cookies
from .errors import SettingsError
from .mark import Hasher
from .push import Payload
from .routes import Routes

SHORTEST_KEY = 32
"""Characters."""
SESSION_ID = r"[A-Za-z0-9._:~-]{1,128}"
NO_GLOB = re.compile(r"\.\*|\\|^\^|\$$|<.*>|\{.*\}|\(.*\)")
"""What stands in regular expressions and in routes of frameworks, and in no path that people give."""
URL_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
TAKEN_FUNCTIONS = ("forget", "__proto__", "constructor", "prototype")


class Keywords(TypedDict, total=False):
    """The keywords of `ReveMiddleware` and `ReveWSGIMiddleware`; see docs/reference/keywords.md."""

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


OTHER_WORDS = {
    "url": "webhook_url", "link": "webhook_url", "api_key": "token", "bearer": "token", "auth": "token",
    "bot": "chatbot_id", "bot_id": "chatbot_id", "botid": "chatbot_id", "salt": "secret_key", "debug": "dev",
    "user": "profile", "get_user": "profile", "callback": "profile", "widget": "account_id",
}  # fmt: skip
"""What people write instead, where the letters do not tell."""


def closest_keyword(name: str) -> str | None:
    """The keyword that was meant, if that can be told."""
    from difflib import get_close_matches

    name = name.lower()
    return OTHER_WORDS.get(name) or next(iter(get_close_matches(name, Keywords.__annotations__, 1)), None)


class Settings:
    """Every keyword, checked. Built once for each middleware; nothing changes afterwards."""

    __slots__ = (
        "_bots", "account_id", "allowed_origins", "bots", "client", "concurrency", "consent", "cookies",
        "dev", "function", "handoff", "hasher", "identity", "inject", "on_result", "outbox",
        "path", "payload", "profile", "routes", "session_id", "subrequest", "timeout",
    )  # fmt: skip

    def __init__(self, keywords: Mapping[str, Any]) -> None:
        given = dict(keywords)
        for name in given:
            if name not in Keywords.__annotations__:
                meant = closest_keyword(name)
                raise SettingsError(
                    f"there is no keyword {name!r}"
                    + (f"; did you mean {meant!r}?" if meant else "; docs/reference/keywords.md has them all")
                )
        _check_missing(given)
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
        routes = None if routes is None else _globs(given, "routes")
        self.routes = Routes(routes, _globs(given, "exclude"), _globs(given, "logout_routes"))

        self.function: str = given.get("function", "identify")
        check_function(self.function)
        self.account_id: str | None = given.get("account_id")
        if self.account_id is not None and not is_like(r"[A-Za-z0-9_-]+", self.account_id):
            wrong("account_id", self.account_id, "the REVE account's id as text, such as '1234567'")
        self.inject = _flag(given, "inject", True)
        self.dev = _flag(given, "dev", False)
        self.path: str = given.get("path", "/_reve")
        if not isinstance(self.path, str) or not URL_PATH.fullmatch(self.path):
            wrong("path", self.path, "a path of plain characters without a slash at the end, such as '/_reve'")
        self.subrequest: str | None = given.get("subrequest", f"{self.path}/session")
        if self.subrequest is not None and not is_like(r"/[\x21-\x7e]*", self.subrequest):
            wrong("subrequest", self.subrequest, "a path inside the application, such as '/users/me', or None")
        self.allowed_origins = frozenset(_origins(given))
        base: str = given.get("cookie", "reve")
        if not is_like(r"[A-Za-z0-9_-]{1,64}", base):
            wrong("cookie", base, "a name of letters, digits, '-' and '_', without a prefix: 'reve'")
        self.cookies = Cookies(base, secrets, dev=self.dev)
        self.hasher = Hasher(secrets)
        self.session_id = _pattern(given.get("session_id_pattern", SESSION_ID))

        self.payload: Payload = given.get("payload", "nested")
        if self.payload not in ("nested", "flat"):
            right = "'nested', 'flat', or a callable of (chatbot_id, session_id, profile)"
            if _callable(given, "payload", 3, right) is None:
                wrong("payload", None, right)
        self.outbox = _outbox(given.get("outbox"))
        self.handoff = _callable(given, "handoff", 1)
        for name in ("outbox", "client", "concurrency", "timeout", "on_result"):
            if self.handoff is not None and given.get(name) is not None:
                raise SettingsError(f"{name} and handoff are both given: the task queue sends; leave {name} out")
        self.concurrency: int = _number(given, "concurrency", 8, int, 1, 64)
        self.timeout: float = _number(given, "timeout", 10.0, (int, float), 0.1, 60.0)

    def bot(self, chatbot_id: str) -> Bot:
        """The bot of that id; KeyError where it is none of ours."""
        return self._bots[chatbot_id]

    def has_bot(self, chatbot_id: str) -> bool:
        return chatbot_id in self._bots

    def __repr__(self) -> str:
        return f"<Settings for {', '.join(self._bots)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("settings are not pickled: they hold secrets")


def check_function(function: Any) -> None:
    """Raise `SettingsError` unless it is the name of a function that the bridge can define."""
    if not is_like(r"[A-Za-z_$][A-Za-z0-9_$]*", function) or function in TAKEN_FUNCTIONS:
        wrong("function", function, "the name the bot calls, as in chatbot.identify(…): 'identify'")


def _bots(given: dict[str, Any]) -> tuple[Bot, ...]:
    one = ("webhook_url", "token", "chatbot_id", "endpoint", "logout_endpoint")
    if given.get("bots") is None:
        found = {name: given[name] for name in one if given.get(name) is not None}
        from_environment = []
        for name in one[:3]:
            if name not in found and f"REVE_{name.upper()}" in os.environ:
                found[name] = os.environ[f"REVE_{name.upper()}"]
                from_environment.append(name)
            if not found.get(name):
                wrong(name, None, NEEDED[name], f"REVE_{name.upper()}")
        try:
            return (Bot(**found),)
        except SettingsError as error:
            complaint = str(error)
        found.clear()
        raise SettingsError(complaint + _source(complaint, from_environment))
    for name in one:
        if given.get(name) is not None:
            raise SettingsError(f"{name} and bots are both given: put {name} into a Bot(…) of the list")
    bots = given["bots"]
    if not isinstance(bots, (list, tuple)) or not bots or not all(isinstance(bot, Bot) for bot in bots):
        raise SettingsError("bots is wrong: it must be a list of Bot(webhook_url=…, token=…, chatbot_id=…)")
    seen: set[str] = set()
    for bot in bots:
        if bot.chatbot_id in seen:
            wrong("chatbot_id", bot.chatbot_id, "different for each Bot of the list")
        seen.add(bot.chatbot_id)
    return tuple(bots)


def _check_missing(given: Mapping[str, Any]) -> None:
    """All that is missing is told at once: a site that was never set up has none of it."""
    needed = [*(NEEDED if given.get("bots") is None else ()), "secret_key"]
    missing = [name for name in needed if not given.get(name) and not os.environ.get(f"REVE_{name.upper()}")]
    if len(missing) > 1:
        variables = ", ".join(f"REVE_{name.upper()}" for name in missing)
        raise SettingsError(
            f"settings are missing: {', '.join(missing)}; give them as keywords (Django: in capitals, in REVE), or set "
            f"{variables} in the environment (for development `reve-middleware sandbox` prints them)"
        )


def _source(complaint: str, from_environment: Sequence[str]) -> str:
    """Where a value came from, if it was not given as a keyword."""
    name = complaint.partition(" ")[0].partition("=")[0]
    return f" (it comes from REVE_{name.upper()} in the environment)" if name in from_environment else ""


def _secret_keys(keys: Any) -> list[str]:
    right = f"text of at least {SHORTEST_KEY} characters, or a list of such texts, newest first"
    maker = "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
    if keys is None or keys == "" or keys == [] or keys == ():
        wrong("secret_key", None, f"{right}; {maker}", "REVE_SECRET_KEY")
    keys = [keys] if isinstance(keys, str) else keys
    if not isinstance(keys, (list, tuple)) or not all(isinstance(key, str) for key in keys):
        raise SettingsError(f"secret_key is a {type(keys).__name__}: it must be {right}")
    for key in keys:
        if len(key) < SHORTEST_KEY:
            raise SettingsError(f"secret_key has {len(key)} characters: it must be {right}; {maker}")
        if any("\ud800" <= character <= "\udfff" for character in key):  # bytes of the environment that are no UTF-8
            raise SettingsError("secret_key has bytes that are no text: paste it anew")
    return list(keys)


def _callable(given: dict[str, Any], name: str, arguments: int, right: str = "") -> Any:
    value = given.get(name)
    if value is None:
        return None
    if not callable(value):
        right = right or f"a callable of {('nothing', 'one argument')[arguments]}"
        if arguments != 1 or isinstance(value, (str, int, float)):
            wrong(name, value, right)
        if inspect.iscoroutine(value):
            value.close()
        raise SettingsError(f"{name} is a {type(value).__name__}: it must be {right}, and not what that returns")
    check_arguments(name, value, arguments)
    return value


def _texts(given: dict[str, Any], name: str, example: str) -> tuple[str, ...]:
    value = given.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        wrong(name, value, f"a list or tuple: {name}=({value!r},)")
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(text, str) for text in value):
        wrong(name, value, f"a list or tuple of texts, such as {example}")
    return tuple(value)


def _globs(given: dict[str, Any], name: str) -> tuple[str, ...]:
    globs = _texts(given, name, "('/account/*',)")
    for glob in globs:
        if "://" in glob:
            wrong(name, glob, "paths without scheme and host, such as '/account/*'")
        if NO_GLOB.search(glob):
            wrong(name, glob, "globs, not regular expressions or route patterns: '*' is anything, as in '/account/*'")
        if not glob.startswith(("/", "*")):
            wrong(name, glob, f"paths that begin with '/', such as {'/' + glob!r}")
    return globs


def _origins(given: dict[str, Any]) -> list[str]:
    origins = _texts(given, "allowed_origins", "('https://www.example.com',)")
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.\[\]:-]+", origin):
            wrong("allowed_origins", origin, "origins as browsers send them: 'https://www.example.com'")
    return list(origins)


def _outbox(path: Any) -> str | None:
    right = "the path of a file in a folder that exists, such as 'reve.sqlite3'"
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        wrong("outbox", path or "''", right)
    path = os.fspath(path)
    if not isinstance(path, str) or os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or "."):
        wrong("outbox", path, right)
    return os.path.abspath(path)


def _flag(given: dict[str, Any], name: str, default: bool) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        wrong(name, value, "True or False")
    return value


def _number(given: dict[str, Any], name: str, default: Any, kind: Any, least: float, most: float) -> Any:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
        wrong(name, value, f"{'a whole' if kind is int else 'a'} number from {least:g} to {most:g}")
    return value


def _pattern(pattern: Any) -> re.Pattern[str]:
    right = rf"a regular expression for the whole id, such as r'{SESSION_ID}'"
    if not isinstance(pattern, str):
        wrong("session_id_pattern", pattern, right)
    compiled = None
    with contextlib.suppress(re.error):
        compiled = re.compile(pattern)
    if compiled is None:
        wrong("session_id_pattern", pattern, right)
    return compiled
