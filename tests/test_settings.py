"""Wrong settings: each is one exception with its cure, found when the object is built (contract §9, §11)."""

import functools
from typing import Any

import pytest
from pure import BOT, KEY, OLD_KEY, make_settings

from reve_middleware import Bot, ReveError, ReveMiddleware, SettingsError
from reve_middleware.settings import Keywords, Settings

NO_ENVIRONMENT = ("REVE_WEBHOOK_URL", "REVE_TOKEN", "REVE_CHATBOT_ID", "REVE_SECRET_KEY")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NO_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def complaint(**keywords: Any) -> str:
    """The text of the one error that these keywords cause."""
    with pytest.raises(SettingsError) as caught:
        Settings(keywords)
    assert isinstance(caught.value, ReveError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert "\n" not in str(caught.value)
    return str(caught.value)


def no_argument() -> None:
    """Not a callable of a request."""


def two_arguments(request: Any, other: Any, *, keyword: str = "canary-default") -> None:
    """Not a callable of a request."""


class View:
    def __call__(self) -> None:
        """Not a callable of a request."""


LINK = "it must be the bot's webhook link, https://…"
KEYS = "it must be text of at least 32 characters, or a list of such texts, newest first"
MAKE = "; python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
BOTS = "bots is wrong: it must be a list of Bot(webhook_url=…, token=…, chatbot_id=…)"
PATH = "a path of plain characters without a slash at the end, such as '/_reve'"
PAYLOAD = "'nested', 'flat', or a callable of (chatbot_id, session_id, profile)"
PATTERN = "a regular expression for the whole id, such as r'[A-Za-z0-9._:~-]{1,128}'"
FUNCTION = "the name the bot calls, as in chatbot.identify(…): 'identify'"
FILE = "the path of a file in a folder that exists, such as 'reve.sqlite3'"
ID = "the bot's id, 1 to 128 visible characters"
NUMBER = "it must be a number from 0.1 to 60"
WHOLE = "it must be a whole number from 1 to 64"

WRONG: list[tuple[dict[str, Any], str]] = [
    # Keywords that do not exist.
    ({"webhook": "x"}, "there is no keyword 'webhook'; did you mean 'webhook_url'?"),
    ({"exclude_routes": ()}, "there is no keyword 'exclude_routes'; did you mean 'logout_routes'?"),
    ({"zzz": 1}, "there is no keyword 'zzz'; docs/reference/keywords.md has them all"),
    # webhook_url
    ({"webhook_url": None}, f"webhook_url is missing: {LINK} (or set REVE_WEBHOOK_URL in the environment)"),
    ({"webhook_url": ""}, f"webhook_url is missing: {LINK} (or set REVE_WEBHOOK_URL in the environment)"),
    ({"webhook_url": b"https://canary"}, f"webhook_url is a bytes: {LINK}"),
    ({"webhook_url": "canary"}, f"webhook_url is no address: {LINK}"),
    ({"webhook_url": "https://"}, f"webhook_url is no address: {LINK}"),
    ({"webhook_url": "https://[canary"}, f"webhook_url is no address: {LINK}"),
    ({"webhook_url": "https://reve.example:canary/"}, f"webhook_url is no address: {LINK}"),
    ({"webhook_url": "https://reve.example/a canary"}, f"webhook_url is no address: {LINK}"),
    (
        {"webhook_url": "https://reve.example/canary\n"},
        "webhook_url has quotes, brackets, a blank or a line end around it: take them off. "
        "(Docker's --env-file keeps quotes.)",
    ),
    ({"webhook_url": "https://reve.example/cänary"}, f"webhook_url is no address: {LINK}"),
    (
        {"webhook_url": "https://canary@reve.example/"},
        f"webhook_url has a user name, a query or a fragment: {LINK}, alone",
    ),
    (
        {"webhook_url": "https://reve.example/?token=canary"},
        f"webhook_url has a user name, a query or a fragment: {LINK}, alone",
    ),
    (
        {"webhook_url": "https://reve.example/#canary"},
        f"webhook_url has a user name, a query or a fragment: {LINK}, alone",
    ),
    (
        {"webhook_url": "http://reve.example/canary"},
        f"webhook_url begins with 'http': {LINK} (http is for loopback addresses alone)",
    ),
    (
        {"webhook_url": "http://127.0.0.1.example/canary"},
        f"webhook_url begins with 'http': {LINK} (http is for loopback addresses alone)",
    ),
    (
        {"webhook_url": "ftp://localhost/canary"},
        f"webhook_url begins with 'ftp': {LINK} (http is for loopback addresses alone)",
    ),
    # token
    (
        {"token": None},
        "token is missing: it must be the webhook's token as text, or a callable that returns it "
        "(or set REVE_TOKEN in the environment)",
    ),
    ({"token": b"canary"}, "token is a bytes: it must be text, or a callable that returns text"),
    ({"token": 7}, "token is a int: it must be text, or a callable that returns text"),
    *[
        (
            {"token": token},
            "token has blanks, line ends or characters that no header can carry: paste it anew",
        )
        for token in ("can ary", "cänary", "canary\0")
    ],
    *[
        ({"token": token}, "token has a blank or a line end around it: take it off, such as with .strip()")
        for token in ("canary\n", " canary")
    ],
    ({"token": two_arguments}, "token=two_arguments(request, other, keyword) is wrong: it is called with no argument"),
    (
        {"token": functools.partial(two_arguments, keyword="canary")},
        "token=partial(request, other, keyword) is wrong: it is called with no argument",
    ),
    # chatbot_id, endpoint, logout_endpoint
    ({"chatbot_id": None}, f"chatbot_id is missing: it must be {ID} (or set REVE_CHATBOT_ID in the environment)"),
    ({"chatbot_id": ""}, f"chatbot_id is missing: it must be {ID} (or set REVE_CHATBOT_ID in the environment)"),
    ({"chatbot_id": 7}, f"chatbot_id=7 is wrong: it must be {ID}"),
    ({"chatbot_id": "a b"}, f"chatbot_id='a b' is wrong: it must be {ID}"),
    ({"chatbot_id": "x" * 129}, f"chatbot_id='{'x' * 129}' is wrong: it must be {ID}"),
    ({"endpoint": "/login"}, "endpoint='/login' is wrong: it must be the endpoint's name alone, such as 'login'"),
    ({"endpoint": "a?b"}, "endpoint='a?b' is wrong: it must be the endpoint's name alone, such as 'login'"),
    (
        {"logout_endpoint": "a/b"},
        "logout_endpoint='a/b' is wrong: it must be the endpoint's name alone, such as 'login'",
    ),
    ({"logout_endpoint": 1}, "logout_endpoint=1 is wrong: it must be the endpoint's name alone, such as 'login'"),
    # bots
    ({"bots": []}, "webhook_url and bots are both given: put webhook_url into a Bot(…) of the list"),
    # secret_key
    ({"secret_key": None}, f"secret_key is missing: {KEYS}{MAKE} (or set REVE_SECRET_KEY in the environment)"),
    ({"secret_key": ""}, f"secret_key is missing: {KEYS}{MAKE} (or set REVE_SECRET_KEY in the environment)"),
    ({"secret_key": []}, f"secret_key is missing: {KEYS}{MAKE} (or set REVE_SECRET_KEY in the environment)"),
    ({"secret_key": ()}, f"secret_key is missing: {KEYS}{MAKE} (or set REVE_SECRET_KEY in the environment)"),
    ({"secret_key": b"canary" * 9}, f"secret_key is a bytes: {KEYS}"),
    ({"secret_key": [KEY, b"canary" * 9]}, f"secret_key is a list: {KEYS}"),
    ({"secret_key": {KEY}}, f"secret_key is a set: {KEYS}"),
    ({"secret_key": "canary"}, f"secret_key has 6 characters: {KEYS}{MAKE}"),
    ({"secret_key": "x" * 31}, f"secret_key has 31 characters: {KEYS}{MAKE}"),
    ({"secret_key": [KEY, ""]}, f"secret_key has 0 characters: {KEYS}{MAKE}"),
    ({"secret_key": "\udcff" + KEY}, "secret_key has bytes that are no text: paste it anew"),
    # Callables.
    *[
        ({name: 7}, f"{name}=7 is wrong: it must be a callable of one argument")
        for name in ("profile", "identity", "consent", "on_result", "handoff")
    ],
    *[
        ({name: no_argument}, f"{name}=no_argument() is wrong: it is called with one argument")
        for name in ("profile", "identity", "consent", "on_result", "handoff")
    ],
    (
        {"profile": two_arguments},
        "profile=two_arguments(request, other, keyword) is wrong: it is called with one argument",
    ),
    ({"profile": View()}, "profile=View() is wrong: it is called with one argument"),
    ({"client": "x"}, "client='x' is wrong: it must be a callable of nothing"),
    (
        {"client": two_arguments},
        "client=two_arguments(request, other, keyword) is wrong: it is called with no argument",
    ),
    # payload
    ({"payload": None}, f"payload is missing: it must be {PAYLOAD}"),
    ({"payload": "deep"}, f"payload='deep' is wrong: it must be {PAYLOAD}"),
    ({"payload": {}}, f"payload={{}} is wrong: it must be {PAYLOAD}"),
    (
        {"payload": no_argument},
        "payload=no_argument() is wrong: it is called with three arguments (chatbot_id, session_id, profile)",
    ),
    # routes, exclude, logout_routes
    *[
        ({name: "/a/*"}, f"{name}='/a/*' is wrong: it must be a list or tuple: {name}=('/a/*',)")
        for name in ("routes", "exclude", "logout_routes")
    ],
    *[
        ({name: value}, f"{name}={value!r} is wrong: it must be a list or tuple of texts, such as ('/account/*',)")
        for name in ("routes", "exclude", "logout_routes")
        for value in (7, [7], {"/a": 1}, [b"/a"])
    ],
    *[
        ({name: ["/b", "a/*"]}, f"{name}='a/*' is wrong: it must be paths that begin with '/', such as '/a/*'")
        for name in ("routes", "exclude", "logout_routes")
    ],
    # function, account_id
    *[
        ({"function": name}, f"function={name!r} is wrong: it must be {FUNCTION}")
        for name in ("forget", "__proto__", "constructor", "prototype", "a-b", "1a", "a.b", "ä", "a\n", 7)
    ],
    ({"function": ""}, f"function is missing: it must be {FUNCTION}"),
    *[
        (
            {"account_id": account},
            f"account_id={account!r} is wrong: it must be the REVE account's id as text, such as '1234567'",
        )
        for account in (1234567, "a b", "'><script>", "1\n")
    ],
    # Flags.
    *[
        ({name: value}, f"{name}={value!r} is wrong: it must be True or False")
        for name in ("inject", "dev")
        for value in (1, 0, "true")
    ],
    ({"dev": None}, "dev is missing: it must be True or False"),
    # path, subrequest
    *[
        ({"path": path}, f"path={path!r} is wrong: it must be {PATH}")
        for path in ("/", "_reve", "/_reve/", "//x", "/a b", "/ä", "/a\n", "/a?b", 7)
    ],
    ({"path": ""}, f"path is missing: it must be {PATH}"),
    *[
        (
            {"subrequest": path},
            f"subrequest={path!r} is wrong: it must be a path inside the application, such as '/users/me', or None",
        )
        for path in ("users/me", "https://shop.example/", "/a b", "/a\n", True)
    ],
    # allowed_origins
    *[
        (
            {"allowed_origins": [origin]},
            f"allowed_origins={origin!r} is wrong: it must be origins as browsers send them: 'https://www.example.com'",
        )
        for origin in ("www.example.com", "https://www.example.com/", "https://WWW.example.com", "https://a@b", "null")
    ],
    (
        {"allowed_origins": "https://a.example"},
        "allowed_origins='https://a.example' is wrong: it must be a list or tuple: "
        "allowed_origins=('https://a.example',)",
    ),
    # cookie, session_id_pattern
    *[
        (
            {"cookie": name},
            f"cookie={name!r} is wrong: it must be a name of letters, digits, '-' and '_', without a prefix: 'reve'",
        )
        for name in ("a b", "a;b", "a=b", "x" * 65, "a\n", 7)
    ],
    ({"session_id_pattern": "("}, f"session_id_pattern='(' is wrong: it must be {PATTERN}"),
    ({"session_id_pattern": 7}, f"session_id_pattern=7 is wrong: it must be {PATTERN}"),
    ({"session_id_pattern": None}, f"session_id_pattern is missing: it must be {PATTERN}"),
    # outbox, handoff
    ({"outbox": "/no/such/folder/x.sqlite3"}, f"outbox='/no/such/folder/x.sqlite3' is wrong: it must be {FILE}"),
    ({"outbox": "/"}, f"outbox='/' is wrong: it must be {FILE}"),
    ({"outbox": b"x"}, f"outbox=b'x' is wrong: it must be {FILE}"),
    *[
        ({name: value, "handoff": print}, f"{name} and handoff are both given: the task queue sends; leave {name} out")
        for name, value in {
            "outbox": "x.sqlite3",
            "client": dict,
            "concurrency": 4,
            "timeout": 5.0,
            "on_result": print,
        }.items()
    ],
    # concurrency, timeout
    *[({"concurrency": value}, f"concurrency={value!r} is wrong: {WHOLE}") for value in (0, 65, 1.0, True, "8", -1)],
    ({"concurrency": None}, f"concurrency is missing: {WHOLE}"),
    *[
        ({"timeout": value}, f"timeout={value!r} is wrong: {NUMBER}")
        for value in (0, 61, float("nan"), float("inf"), True, "10")
    ],
]


@pytest.mark.parametrize(("keywords", "text"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_each_mistake_is_one_line_with_its_cure(keywords: dict[str, Any], text: str) -> None:
    """Each wrong keyword is one `SettingsError` that names it, shows its value unless it is secret, and says what
    would be right."""
    said = complaint(**{**BOT, "secret_key": KEY, **keywords})
    assert said == text
    assert "canary" not in said


def bot(**more: Any) -> Bot:
    return Bot(**{**BOT, **more})


def test_mistakes_with_several_bots() -> None:
    """A list of bots is a list of `Bot`, each with an id of its own, and nothing of them stands beside the list."""
    for bots in ([], "x", {}, [bot(), "x"], bot()):
        assert complaint(bots=bots, secret_key=KEY) == BOTS
    assert complaint(bots=[bot(), bot()], secret_key=KEY) == (
        "chatbot_id='bot-1' is wrong: it must be different for each Bot of the list"
    )
    for name in ("webhook_url", "token", "chatbot_id", "endpoint", "logout_endpoint"):
        assert complaint(bots=[bot()], secret_key=KEY, **{name: "x"}) == (
            f"{name} and bots are both given: put {name} into a Bot(…) of the list"
        )


def test_nothing_at_all() -> None:
    """Without any keyword all that is missing is named at once, and where it comes from in development."""
    assert complaint() == (
        "settings are missing: webhook_url, token, chatbot_id, secret_key; give them as keywords (Django: in capitals, "
        f"in REVE), or set {', '.join(NO_ENVIRONMENT)} in the environment (for development "
        "`reve-middleware sandbox` prints them)"
    )


def test_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that are missing are named, and no others; an empty variable counts for nothing."""
    monkeypatch.setenv("REVE_TOKEN", "canary")
    monkeypatch.setenv("REVE_CHATBOT_ID", "")
    text = complaint(webhook_url="https://reve.example/hook", secret_key=KEY)
    assert text.startswith("chatbot_id is missing, for REVE_CHATBOT_ID in the environment is empty")
    text = complaint(webhook_url="https://reve.example/hook")
    assert text.startswith("settings are missing: chatbot_id, secret_key; ")
    assert "REVE_CHATBOT_ID, REVE_SECRET_KEY in" in text
    assert "canary" not in text


def test_a_variable_that_is_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that looks like the one that is missing is named, and not its value."""
    monkeypatch.setenv("REVE_SECRET", "canary" * 9)
    text = complaint(secret_key=None, webhook_url="https://reve.example/hook", token="t", chatbot_id="b")
    assert text.endswith("REVE_SECRET_KEY in the environment; REVE_SECRET, which is set there, is none of ours)")
    assert "canary" not in text


def test_every_keyword_has_its_mistake_here() -> None:
    """No keyword is without a test of its error's text."""
    assert {name for keywords, _ in WRONG for name in keywords} >= set(Keywords.__annotations__)


def test_two_keys_may_be_given() -> None:
    """`secret_key` may be a list, newest first."""
    settings = make_settings(secret_key=(KEY, OLD_KEY))
    assert settings.hasher.digest("who", "1") == make_settings().hasher.digest("who", "1")


def test_a_mistake_leaves_no_secret_in_any_frame() -> None:
    """When a keyword is wrong, no frame of ours in the traceback holds the token, the link or the key."""
    with pytest.raises(SettingsError) as caught:
        ReveMiddleware(
            lambda scope, receive, send: None,
            webhook_url="https://reve.example/canary-path",
            token="canary-token",
            chatbot_id="bot",
            secret_key="canary-key" * 4,
            timeout=0,
        )
    error: BaseException | None = caught.value
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            if "reve_middleware" in trace.tb_frame.f_code.co_filename:
                assert "canary" not in repr(trace.tb_frame.f_locals)
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
