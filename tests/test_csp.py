"""What a page's own Content-Security-Policy allows our tag (contract §2, THREATS T10, T11)."""

import re

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from reve_middleware.csp import Permission, permission

OWN = ["https://shop.example"]
SCRIPT = Permission(False, None, "script-src 'self', or a nonce")
CONNECT = Permission(False, None, "connect-src 'self'")
BOTH = Permission(False, None, f"{SCRIPT.advice}; and {CONNECT.advice}")
SANDBOX = Permission(False)
YES = Permission(True)


def asked(*policies: str, origins: list[str] | None = None) -> Permission:
    return permission(policies, OWN if origins is None else origins, "/_reve/bridge.js", "/_reve/session")


def nonce(value: str) -> Permission:
    return Permission(True, value)


POLICIES: list[tuple[str, Permission]] = [
    ("", YES),
    (";;", YES),
    ("img-src 'none'", YES),
    ("upgrade-insecure-requests", YES),
    # 'self', 'none', wildcards.
    ("default-src 'self'", YES),
    ("DEFAULT-SRC 'SELF'", YES),
    ("script-src 'self'", YES),
    ("default-src 'none'", BOTH),
    ("default-src", BOTH),
    ("script-src 'none'", SCRIPT),
    ("script-src", SCRIPT),
    ("script-src *", YES),
    ("default-src *", YES),
    ("script-src 'unsafe-inline' 'unsafe-eval'", SCRIPT),
    ("script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='", SCRIPT),
    ("script-src data: blob:", SCRIPT),
    # The most exact directive counts, and the first of a name.
    ("default-src 'none'; script-src 'self'; connect-src 'self'", YES),
    ("script-src 'none'; script-src-elem 'self'", YES),
    ("script-src 'self'; script-src-elem 'none'", SCRIPT),
    ("script-src 'self'; script-src-attr 'none'", YES),
    ("script-src 'self'; script-src 'none'", YES),
    ("script-src 'none'; script-src 'self'", SCRIPT),
    # connect-src.
    ("script-src 'self'; connect-src 'none'", CONNECT),
    ("script-src 'nonce-abc'; connect-src https://api.example", CONNECT),
    ("default-src 'self'; connect-src https://api.example", CONNECT),
    ("connect-src 'self'", YES),
    ("connect-src https://shop.example/_reve/", YES),
    ("connect-src https://shop.example/api/", CONNECT),
    ("default-src 'nonce-abc'", CONNECT),
    # Nonces.
    ("script-src 'nonce-abc'", nonce("abc")),
    ("script-src 'NONCE-aBc'", nonce("aBc")),
    ("script-src 'nonce-a+/-_b=='", nonce("a+/-_b==")),
    ("script-src 'nonce-one' 'nonce-two'", nonce("one")),
    ("script-src 'self' 'nonce-abc'", nonce("abc")),
    ("script-src 'strict-dynamic' 'nonce-abc'", nonce("abc")),
    ("script-src 'self' 'strict-dynamic' 'nonce-abc'", nonce("abc")),
    ("script-src 'self' 'strict-dynamic'", SCRIPT),
    ("script-src https: 'STRICT-DYNAMIC' 'sha256-x'", SCRIPT),
    ("default-src 'self' 'strict-dynamic'", SCRIPT),
    ("script-src 'nonce-abc'; script-src-elem 'none'", SCRIPT),
    # A nonce that is none is never believed, and never copied into the page.
    ("script-src 'nonce-'", SCRIPT),
    ("script-src 'nonce-a\"b'", SCRIPT),
    ("script-src 'nonce-<x>'", SCRIPT),
    ("script-src 'nonce-a b'", SCRIPT),
    ("script-src 'nonce-a===b'", SCRIPT),
    ("script-src 'nonce-===='", SCRIPT),
    ("script-src nonce-abc", SCRIPT),
    ("script-src x'nonce-abc'", SCRIPT),
    ("script-src 'nonce-abc'x", SCRIPT),
    ("script-src 'self' 'nonce-abc'x", YES),
    ("script-src 'nonce-abc", SCRIPT),
    ("script-src 'nonce-\xe4'", SCRIPT),
    # Hosts.
    ("script-src shop.example", YES),
    ("script-src SHOP.example", YES),
    ("script-src https://shop.example", YES),
    ("script-src https://shop.example/", YES),
    ("script-src https:", YES),
    ("script-src http:", YES),
    ("script-src http://shop.example", YES),
    ("script-src wss://shop.example", SCRIPT),
    ("script-src ftp:", SCRIPT),
    ("script-src *.shop.example", SCRIPT),
    ("script-src *.example", YES),
    ("script-src *.ample", SCRIPT),
    ("script-src *op.example", SCRIPT),
    ("script-src cdn.example", SCRIPT),
    ("script-src shop.example.attacker.example", SCRIPT),
    ("script-src https://*", YES),
    ("script-src https://*:443", YES),
    # Ports.
    ("script-src shop.example:443", YES),
    ("script-src shop.example:*", YES),
    ("script-src https://shop.example:8443", SCRIPT),
    ("script-src shop.example:80", SCRIPT),
    ("script-src shop.example:", SCRIPT),
    ("script-src shop.example:https", SCRIPT),
    # Paths.
    ("script-src shop.example/_reve/", YES),
    ("script-src shop.example/_reve/bridge.js", YES),
    ("script-src shop.example/_reve", SCRIPT),
    ("script-src shop.example/_REVE/", SCRIPT),
    ("script-src shop.example/static/", SCRIPT),
    ("script-src shop.example/_reve/bridge.js/", SCRIPT),
    ("script-src https://shop.example/?x", SCRIPT),
    # A sandbox needs scripts and the page's own origin.
    ("sandbox", SANDBOX),
    ("sandbox allow-scripts", SANDBOX),
    ("SANDBOX allow-same-origin allow-forms", SANDBOX),
    ("sandbox; script-src 'nonce-abc'", SANDBOX),
    ("sandbox ALLOW-scripts allow-same-origin", YES),
    ("sandbox allow-scripts allow-same-origin; sandbox", YES),
    ("sandbox allow-scripts allow-same-origin; script-src 'none'", SCRIPT),
    # Nonsense.
    ("script-src self", SCRIPT),
    ("script-src 'self", SCRIPT),
    ("script-src https//shop.example", SCRIPT),
    ("script-src ://shop.example", SCRIPT),
    ("script-src \xff", SCRIPT),
]


@pytest.mark.parametrize(("policy", "said"), POLICIES, ids=[policy or "empty" for policy, _ in POLICIES])
def test_one_policy(policy: str, said: Permission) -> None:
    """What one policy allows is what CSP Level 3 says it does: its nonce, else our URL, else no."""
    assert asked(policy) == said


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        (["script-src 'self'", "script-src 'self'"], YES),
        (["script-src 'self'", "script-src 'none'"], SCRIPT),
        (["script-src 'self', script-src 'none'"], SCRIPT),
        (["img-src 'none', script-src 'self'"], YES),
        (["script-src 'nonce-abc'", "script-src 'self'"], nonce("abc")),
        (["script-src 'nonce-abc', default-src 'self'"], nonce("abc")),
        (["script-src 'nonce-abc'", "script-src 'nonce-xyz'"], SCRIPT),
        (["script-src 'nonce-abc' 'nonce-xyz'", "script-src 'nonce-xyz'"], nonce("xyz")),
        (["script-src 'nonce-abc'", "script-src 'nonce-ABC'"], SCRIPT),
        (["script-src 'nonce-abc'", "script-src 'strict-dynamic' 'nonce-abc'"], nonce("abc")),
        (["script-src 'self'", "connect-src 'none'"], CONNECT),
        (["script-src 'self'", "sandbox"], SANDBOX),
        (["sandbox allow-scripts allow-same-origin, sandbox allow-scripts"], SANDBOX),
        ([], YES),
    ],
)
def test_several_policies_must_all_agree(policies: list[str], said: Permission) -> None:
    """Several policies, in one header or in several, all count: one that says no is a no."""
    assert asked(*policies) == said


@pytest.mark.parametrize(
    ("policy", "origins", "allowed"),
    [
        ("script-src shop.example:8000", ["http://shop.example:8000"], True),
        ("script-src shop.example", ["http://shop.example:8000"], False),
        ("script-src shop.example", ["http://shop.example"], True),
        ("script-src shop.example:80", ["http://shop.example"], True),
        ("script-src https:", ["http://shop.example"], False),
        ("script-src https:", ["http://shop.example", "https://shop.example"], True),
        ("script-src https://shop.example", ["http://shop.example", "https://shop.example"], True),
        ("script-src http://shop.example", ["http://shop.example"], True),
        ("script-src [::1]:8000", ["http://[::1]:8000"], True),
        ("script-src [::2]:8000", ["http://[::1]:8000"], False),
        ("script-src 127.0.0.1:*", ["http://127.0.0.1:8000"], True),
        ("script-src localhost:8000", ["http://127.0.0.1:8000"], False),
        ("script-src 'self'", ["http://"], True),
        ("script-src shop.example", ["http://"], False),
        ("script-src shop.example", ["http://shop.example:x"], False),
        ("script-src shop.example", ["http://shop.example:99999"], False),
        ("script-src shop.example", ["http://["], False),
        ("script-src 'self'", ["http://["], True),
        ("script-src https:", ["https://["], False),
    ],
)
def test_hosts_are_compared_with_the_pages_own(policy: str, origins: list[str], allowed: bool) -> None:
    """Host sources are compared with the page's own origin, whatever the client wrote into `Host`."""
    assert asked(policy, origins=origins).allowed is allowed


@given(
    st.lists(st.text(st.characters(max_codepoint=255), max_size=60), max_size=3),
    st.text(st.characters(max_codepoint=255), max_size=20),
)
@effort(max_examples=150, deadline=None)
def test_any_policy_and_any_host_have_an_answer(policies: list[str], host: str) -> None:
    """Whatever stands in a policy or in `Host`, there is an answer and never an exception."""
    said = asked(*policies, origins=[f"http://{host}", f"https://{host}"])
    assert not (said.allowed and said.advice)
    if not said.allowed and not any("sandbox" in policy.lower() for policy in policies):
        assert said.advice, "what would be right"


PIECES = st.sampled_from(
    ["script-src", "default-src", " ", ";", ",", "'self'", "'nonce-", "'nonce-abc'", "'", '"', ">", "&", "a", "=",
     "'strict-dynamic'", "https:", "shop.example", "/", ":*"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join))
@effort(max_examples=150, deadline=None)
def test_a_nonce_needs_no_quoting(policy: str) -> None:
    """A nonce that is put on the tag consists of the characters of base64 alone, and stands in the policy as it is."""
    said = asked(policy)
    if said.nonce is not None:
        assert re.fullmatch(r"[A-Za-z0-9+/_-]+={0,2}", said.nonce)
        assert f"'nonce-{said.nonce}'" in policy
