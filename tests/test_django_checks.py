"""The system checks: what `manage.py check` says about the order of layers, development and deployment."""

import io
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test.utils import override_settings
from django_world import LAYERS, OURS, in_capitals
from drive import KEYWORDS

REVE = in_capitals(KEYWORDS)

SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
GZIP = "django.middleware.gzip.GZipMiddleware"
CSP = "csp.middleware.CSPMiddleware"
NONCES = {"DIRECTIVES": {"script-src": ["<CSP_NONCE_SENTINEL>"]}}


def found(**settings: Any) -> list[tuple[str, str, str]]:
    with override_settings(REVE=REVE, **settings):
        messages: list[CheckMessage] = run_checks(tags=["reve"], include_deployment_checks=True)
    return [(message.id, message.msg, message.hint) for message in messages]


def test_a_good_order_is_not_spoken_of() -> None:
    """Security, compression and a policy outside, everything else inside: nothing is found."""
    assert found(MIDDLEWARE=[LAYERS[0], GZIP, CSP, *LAYERS[1:]], CONTENT_SECURITY_POLICY=NONCES) == []
    assert found(MIDDLEWARE=LAYERS) == []


def test_without_the_middleware() -> None:
    """W001: `REVE` alone does nothing."""
    hint = f'Put "{OURS}" into MIDDLEWARE, before the layers of sessions and login.'
    assert found(MIDDLEWARE=[SESSION]) == [("reve.W001", "ReveMiddleware is not in MIDDLEWARE.", hint)]


@pytest.mark.parametrize(
    "name", [GZIP, "django_layers.gzipped", "compression_middleware.middleware.CompressionMiddleware"]
)
def test_compression_inside_is_found(name: str) -> None:
    """W002: compression stands inside, where it hides the pages; Django's or another's."""
    text = f"{name} stands after ReveMiddleware: pages come here compressed, and no script can be put in."
    assert found(MIDDLEWARE=[OURS, name]) == [("reve.W002", text, f'Put "{name}" before "{OURS}".')]


@pytest.mark.parametrize(
    "name",
    [
        SESSION,
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
        "django.middleware.cache.UpdateCacheMiddleware",
        "django_layers.OwnSessions",
    ],
)
def test_login_outside_is_found(name: str) -> None:
    """W003: sessions, login, CSRF or a page cache stand outside; a site's own kind of them too."""
    text = f"{name} stands before ReveMiddleware: it may answer what is meant for the middleware."
    assert found(MIDDLEWARE=[name, OURS]) == [("reve.W003", text, f'Put "{name}" after "{OURS}".')]


@pytest.mark.parametrize(
    ("sources", "counts"),
    [
        (["<CSP_NONCE_SENTINEL>"], True),
        (["<CSP_NONCE_SENTINEL>", "'strict-dynamic'", "'self'"], True),
        (["'self'", "<CSP_NONCE_SENTINEL>"], False),
        (["'self'"], False),
        (["'none'"], False),
    ],
)
def test_a_policy_inside_is_found(sources: list[str], counts: bool) -> None:
    """W004: a policy stands inside that lets our script run for a nonce alone, and has none that no page used."""
    text = f"{CSP} stands after ReveMiddleware: a policy has only the nonces that its page uses."
    expected = [("reve.W004", text, f'Put "{CSP}" before "{OURS}".')] if counts else []
    for policy in (
        {"CONTENT_SECURITY_POLICY": {"DIRECTIVES": {"default-src": sources}}},
        {"SECURE_CSP": {"script-src": sources}},
    ):
        assert found(MIDDLEWARE=[OURS, CSP], **policy) == expected
    assert found(MIDDLEWARE=[OURS, CSP]) == []


def test_development_and_deployment() -> None:
    """W005: with `DEBUG` and without `DEV` plain http captures nothing; W006, with `--deploy`: `DEV` is on."""
    with override_settings(REVE=REVE, DEBUG=True, MIDDLEWARE=LAYERS):
        (message,) = run_checks(tags=["reve"])
        assert (message.id, message.hint) == ("reve.W005", 'On a developer\'s machine: REVE = {…, "DEV": DEBUG}.')
        assert message.msg == 'DEBUG is on and REVE["DEV"] is not: over plain http no chat is captured.'
    with override_settings(REVE={**REVE, "DEV": True}, DEBUG=True, MIDDLEWARE=LAYERS):
        assert run_checks(tags=["reve"]) == []
        (message,) = run_checks(tags=["reve"], include_deployment_checks=True)
        assert (message.id, message.hint) == ("reve.W006", 'REVE = {…, "DEV": False}.')
        assert message.msg == 'REVE["DEV"] is on: cookies go over plain http, without Secure and __Host-.'


def test_manage_py_check_shows_them() -> None:
    """With "reve_middleware.django.ReveConfig" in INSTALLED_APPS `manage.py check` shows what was found."""
    with override_settings(REVE={**REVE, "PATH": "reve"}, MIDDLEWARE=[OURS, GZIP]):
        with pytest.raises(SystemCheckError) as caught:
            call_command("check", stdout=io.StringIO(), stderr=io.StringIO())
        assert "?: (reve.E002) REVE[\"PATH\"]='reve' is wrong: it must be a path of plain characters" in str(
            caught.value
        )
        assert f"?: (reve.W002) {GZIP} stands after ReveMiddleware" in str(caught.value)
