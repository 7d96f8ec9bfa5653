"""Right settings: the environment, what is taken, and secrets that show themselves to nobody (contract §8, §9)."""

import copy
import functools
import logging
import pickle
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pure import BOT, KEY, OLD_KEY, make_ids, make_settings

from reve_middleware import Bot, ReveMiddleware, ReveWSGIMiddleware, SettingsError
from reve_middleware.bot import Secret
from reve_middleware.routes import EVERYWHERE
from reve_middleware.settings import Settings
from reve_middleware.visitor import Visit

CANARIES = ("canary-token", "canary-path", KEY)
ENVIRONMENT = {
    "REVE_WEBHOOK_URL": "https://reve.example/hook/from-environment",
    "REVE_TOKEN": "token-from-environment",
    "REVE_CHATBOT_ID": "bot-from-environment",
    "REVE_SECRET_KEY": "a key from the environment, long enough",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def filled(environment: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        environment.setenv(name, value)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application."""


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


def shown(settings: Settings) -> tuple[str, str, str]:
    (bot,) = settings.bots
    return bot.chatbot_id, bot.token.reveal(), bot.url(None)


@pytest.mark.usefixtures("filled")
def test_the_environment_stands_in_for_what_is_left_out() -> None:
    """Each of the four environment variables stands in for a keyword that is left out, or None."""
    link, token, chatbot_id, key = ENVIRONMENT.values()
    for keywords in ({}, dict.fromkeys(("webhook_url", "token", "chatbot_id", "secret_key", "bots"))):
        settings = Settings(keywords)
        assert shown(settings) == (chatbot_id, token, link)
        assert settings.hasher.digest("who", "1") == make_settings(secret_key=key).hasher.digest("who", "1")


@pytest.mark.usefixtures("filled")
def test_a_keyword_beats_the_environment() -> None:
    """What is given is taken, whatever the environment says; a list of bots needs none of it."""
    settings = make_settings()
    assert shown(settings) == ("bot-1", "canary-token", BOT["webhook_url"])
    assert settings.hasher.digest("who", "1") == make_settings(secret_key=KEY).hasher.digest("who", "1")
    bots = [Bot(**{**BOT, "chatbot_id": name}) for name in ("one", "two")]
    assert [bot.chatbot_id for bot in make_settings(bots=bots).bots] == ["one", "two"]


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_an_empty_variable_is_a_missing_keyword(name: str, environment: pytest.MonkeyPatch) -> None:
    """An empty environment variable is told as the keyword that is missing."""
    for other, value in ENVIRONMENT.items():
        environment.setenv(other, "" if other == name else value)
    keyword = name.removeprefix("REVE_").lower()
    with pytest.raises(
        SettingsError, match=rf"^{keyword} is missing, for {name} in the environment is empty: it must be "
    ):
        Settings({})


def test_what_is_taken_when_nothing_is_said() -> None:
    """The defaults are those of the contract's table."""
    settings = make_settings()
    assert (settings.function, settings.account_id, settings.inject, settings.dev) == ("identify", None, True, False)
    assert (settings.path, settings.subrequest, settings.allowed_origins) == ("/_reve", "/_reve/session", frozenset())
    assert (settings.payload, settings.outbox, settings.handoff, settings.client) == ("nested", None, None, None)
    assert (settings.concurrency, settings.timeout, settings.on_result) == (8, 10.0, None)
    assert (settings.profile, settings.identity, settings.consent) == (None, None, None)
    assert settings.routes.of("/anything") == EVERYWHERE
    assert settings.cookies.ids_name == b"__Host-reve"
    assert make_settings(path="/x").subrequest == "/x/session"
    assert make_settings(subrequest=None).subrequest is None


@pytest.mark.parametrize(
    "keywords",
    [
        {"webhook_url": "http://localhost:9000/x"},
        {"webhook_url": "http://127.0.0.1/x"},
        {"webhook_url": "http://127.1.2.3/x"},
        {"webhook_url": "http://[::1]:9000/x"},
        {"webhook_url": "http://reve.localhost/x"},
        {"webhook_url": "HTTPS://reve.example/x"},
        {"token": lambda: "fresh"},
        {"token": functools.partial(str, "fresh")},
        {"token": str},
        {"profile": print},
        {"profile": dict},
        {"payload": lambda chatbot_id, session_id, profile: profile},
        {"payload": "flat"},
        {"routes": ["/a", "*.html"]},
        {"routes": ()},
        {"exclude": {"/a"}},
        {"allowed_origins": ["http://localhost:8000", "https://[::1]:8443"]},
        {"account_id": "1234567"},
        {"function": "$hello_1"},
        {"concurrency": 64, "timeout": 60},
        {"concurrency": 1, "timeout": 0.1},
        {"subrequest": "/users/me?x=1"},
        {"path": "/a/b-c_d.e~f"},
        {"endpoint": "login", "logout_endpoint": "logout-1"},
        {"chatbot_id": "x" * 128},
        {"cookie": "a-B_1"},
    ],
)
def test_what_is_right_is_taken(keywords: dict[str, Any]) -> None:
    """Right values raise nothing."""
    Settings({**BOT, "secret_key": KEY, **keywords})


def test_a_file_for_the_outbox(tmp_path: Path) -> None:
    """The outbox is a file in a folder that exists, as text or as a path; it is made absolute."""
    for given in (tmp_path / "reve.sqlite3", str(tmp_path / "reve.sqlite3")):
        assert make_settings(outbox=given).outbox == str(tmp_path / "reve.sqlite3")
    assert make_settings(outbox="reve.sqlite3").outbox == str(Path.cwd() / "reve.sqlite3")


def test_the_address_of_an_endpoint() -> None:
    """An endpoint's name is appended to the link, with one slash between them."""
    for link in ("https://reve.example/hook", "https://reve.example/hook/"):
        bot = Bot(**{**BOT, "webhook_url": link})
        assert bot.url(None) == link
        assert bot.url("login") == "https://reve.example/hook/login"


def test_bots_are_found_by_their_id() -> None:
    """A bot is found by exactly its id."""
    settings = make_settings()
    assert settings.bot("bot-1") is settings.bots[0]
    assert settings.has_bot("bot-1")
    assert not settings.has_bot("BOT-1")
    with pytest.raises(KeyError):
        settings.bot("other")


# Secrets ---------------------------------------------------------------------------------------


def forms(thing: Any) -> str:
    """Every way in which a value is likely to get into a log."""
    return f"{thing} {thing!r:>9} {[thing]} {str(thing)!r} {thing!a} {[{'a': thing}]}"


def test_nothing_that_is_shown_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Token, webhook path and secret key stand in no `repr` and no `str` of anything that people can hold."""
    settings = make_settings(dev=True)
    middleware = ReveMiddleware(asgi, **BOT, secret_key=[KEY, OLD_KEY])
    wsgi_middleware = ReveWSGIMiddleware(wsgi, **BOT, secret_key=KEY)
    things = [settings, settings.bots, settings.bots[0], settings.bots[0].token, settings.bots[0].webhook_url]
    visit = Visit(None, "/", "/")
    visit.profile = {"token": "canary-token"}
    things += [visit, settings.cookies, settings.hasher, middleware, wsgi_middleware, middleware.stats()]
    caplog.set_level(logging.DEBUG)
    for thing in things:
        logging.getLogger("test").debug("%s %r", thing, thing)
        said = forms(thing)
        for canary in (*CANARIES, OLD_KEY):
            assert canary not in said
    assert not any(canary in caplog.text for canary in (*CANARIES, OLD_KEY))


def test_what_is_shown_instead() -> None:
    """What is shown names the bots and no more."""
    (bot,) = make_settings().bots
    assert repr(bot) == "Bot(chatbot_id='bot-1', endpoint=None, logout_endpoint=None)"
    assert repr(bot.token) == str(bot.token) == f"{bot.token}" == "<secret>"
    assert repr(make_settings()) == "<Settings for bot-1>"
    assert repr(ReveMiddleware(asgi, **BOT, secret_key=KEY)) == "<ReveMiddleware around function, <Settings for bot-1>>"


def test_secrets_are_not_pickled() -> None:
    """Neither a secret nor a bot can be pickled or deeply copied, so that no queue carries a token by mistake."""
    (bot,) = make_settings().bots
    for thing in (bot.token, bot.webhook_url, bot, Bot(**{**BOT, "token": str})):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError) as caught:
                pickle.dumps(thing, protocol)
            assert not any(canary in str(caught.value) for canary in CANARIES)
        with pytest.raises(TypeError, match=r"^a secret is not pickled$"):
            copy.deepcopy(thing)


def test_a_secret_is_asked_for_by_name() -> None:
    """A secret gives its value to who calls `reveal()`, and can be neither read nor changed otherwise."""
    secret = Secret("canary")
    assert secret.reveal() == "canary"
    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(AttributeError):
        secret.value  # type: ignore[attr-defined]  # noqa: B018


def test_a_bot_is_frozen_and_can_be_made_anew() -> None:
    """A bot cannot be changed; `dataclasses.replace` makes another with the same secrets."""
    (bot,) = make_settings().bots
    with pytest.raises(AttributeError):
        bot.chatbot_id = "other"  # type: ignore[misc]
    other = replace(bot, chatbot_id="other")
    assert (other.chatbot_id, other.token.reveal(), other.url(None)) == ("other", "canary-token", BOT["webhook_url"])


@pytest.mark.parametrize(
    "keywords",
    [
        {"webhook_url": "http://reve.example/canary-path"},
        {"token": "canary-token\n"},
        {"secret_key": [KEY, 7]},
        {"timeout": 0},
        {"tokken": "canary-token"},
    ],
)
def test_no_traceback_shows_a_secret(keywords: dict[str, Any]) -> None:
    """The traceback of a wrong setting has one exception and no secret in its lines."""
    with pytest.raises(SettingsError) as caught:
        Settings({**BOT, "secret_key": KEY, **keywords})
    text = "".join(traceback.format_exception(caught.value))
    assert text.count("Traceback") == 1
    assert not any(canary in text for canary in CANARIES)


# The application -------------------------------------------------------------------------------


class WsgiClass:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


class AsgiClass:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """An ASGI application."""


def anything(*args: Any, **kwargs: Any) -> Any:
    """An application whose signature tells nothing."""


@pytest.mark.parametrize(
    ("shell", "app", "text"),
    [
        (ReveMiddleware, None, "the application is a NoneType: it must be an ASGI application"),
        (ReveWSGIMiddleware, "shop:app", "the application is a str: it must be a WSGI application"),
        (ReveMiddleware, wsgi, "the application is called like a WSGI one: wrap it in ReveWSGIMiddleware"),
        (ReveMiddleware, WsgiClass(), "the application is called like a WSGI one: wrap it in ReveWSGIMiddleware"),
        (ReveWSGIMiddleware, asgi, "the application is called like an ASGI one: wrap it in ReveMiddleware"),
        (ReveWSGIMiddleware, AsgiClass(), "the application is called like an ASGI one: wrap it in ReveMiddleware"),
    ],
)
def test_an_application_in_the_wrong_wrapper(shell: Any, app: Any, text: str) -> None:
    """What is no application, or one of the other protocol, is an error that names the right wrapper."""
    with pytest.raises(SettingsError) as caught:
        shell(app, **BOT, secret_key=KEY)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("shell", "app"),
    [
        (ReveMiddleware, asgi),
        (ReveMiddleware, AsgiClass()),
        (ReveMiddleware, anything),
        (ReveMiddleware, functools.partial(asgi)),
        (ReveWSGIMiddleware, wsgi),
        (ReveWSGIMiddleware, WsgiClass()),
        (ReveWSGIMiddleware, anything),
        (
            ReveWSGIMiddleware,
            type("Old", (), {"__init__": lambda self, environ, start_response: None, "__iter__": iter}),
        ),
        (ReveWSGIMiddleware, zip),
    ],
)
def test_an_application_that_fits_or_does_not_say(shell: Any, app: Any) -> None:
    """An application that fits is taken, and so is one whose signature does not tell."""
    assert shell(app, **BOT, secret_key=KEY).app is app


async def async_callable(request: Any) -> None:
    """An async callable."""


class AsyncObject:
    async def __call__(self, request: Any) -> None:
        """An async callable."""


@pytest.mark.parametrize("value", [async_callable, AsyncObject(), functools.partial(async_callable)])
@pytest.mark.parametrize("name", ["profile", "identity", "consent", "handoff"])
def test_async_callables_under_wsgi(name: str, value: Any) -> None:
    """An async callable is taken under ASGI; under WSGI it is an error, and not a coroutine that nobody awaits."""
    ReveMiddleware(asgi, **BOT, secret_key=KEY, **{name: value})
    with pytest.raises(SettingsError) as caught:
        ReveWSGIMiddleware(wsgi, **BOT, secret_key=KEY, **{name: value})
    assert str(caught.value) == f"{name}= is async, and WSGI has no event loop: pass a plain function"


def test_building_starts_nothing_and_shares_nothing() -> None:
    """A middleware that is built has started no thread; two with different keys do not know each other's cookies."""
    before = threading.enumerate()
    ReveMiddleware(asgi, **BOT, secret_key=KEY)
    ReveWSGIMiddleware(wsgi, **BOT, secret_key=OLD_KEY)
    assert [thread for thread in threading.enumerate() if thread not in before] == []
    one, other = make_settings(), make_settings(secret_key=OLD_KEY)
    cookie = one.cookies.write_ids(make_ids()).partition(b";")[0]
    assert one.cookies.ids([cookie], make_ids().captured) == make_ids()
    assert other.cookies.ids([cookie], make_ids().captured) is None
