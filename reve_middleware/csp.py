"""What a page's own Content-Security-Policy allows our tag (CSP Level 3, §6.7).

Only enforced policies count, and all of them must agree. Nothing in here ever changes a policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

NONCE = re.compile(r"'nonce-([A-Za-z0-9+/_-]+={0,2})'", re.IGNORECASE)
HOST_SOURCE = (
    r"(?i)(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?P<host>\*|(?:\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>\d+|\*))?(?P<path>/[^?#]*)?"
)
"""Compiled when a policy names hosts, and kept by `re`: an import need not wait for it."""
DEFAULT_PORTS = {"http": 80, "https": 443}
SCRIPT, POST = "script-src 'self', or a nonce", "connect-src 'self'"
NEEDED_IN_A_SANDBOX = frozenset({"allow-scripts", "allow-same-origin"})
"""Without the first no script runs, without the second the page has no origin, and nothing of ours is for it."""


class Permission(NamedTuple):
    """What the policies say."""

    allowed: bool
    nonce: str | None = None
    """To be put on the tag."""
    advice: str = ""
    """What to add to the policy, where it is not allowed. Empty for a sandbox: it is meant so."""


def permission(policies: Iterable[str], origins: Sequence[str], script_path: str, post_path: str) -> Permission:
    """May a page load our script and send our POST? `origins` (scheme://host[:port]): the page's own;
    two where a proxy may have ended TLS before us."""
    parsed = [_directives(one) for header in policies for one in header.split(",")]
    if any("sandbox" in one and not NEEDED_IN_A_SANDBOX.issubset(map(str.lower, one["sandbox"])) for one in parsed):
        return Permission(False)
    scripts = [_first(one, "script-src-elem", "script-src", "default-src") for one in parsed]
    posts = [_first(one, "connect-src", "default-src") for one in parsed]
    may_post = all(post is None or _allows(post, origins, post_path) for post in posts)
    limits = [sources for sources in scripts if sources is not None]
    nonces = [match[1] for sources in limits for source in sources if (match := NONCE.fullmatch(source))]
    for nonce in (*nonces, None):
        if all(_may_run(sources, origins, script_path, nonce) for sources in limits):
            return Permission(True, nonce) if may_post else Permission(False, advice=POST)
    return Permission(False, advice=SCRIPT if may_post else f"{SCRIPT}; and {POST}")


def _directives(policy: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for directive in policy.split(";"):
        name, *sources = directive.split() or [""]
        found.setdefault(name.lower(), sources)
    return found


def _first(policy: dict[str, list[str]], *names: str) -> list[str] | None:
    return next((policy[name] for name in names if name in policy), None)


def _may_run(sources: list[str], origins: Sequence[str], path: str, nonce: str | None) -> bool:
    if nonce is not None and any(match[1] == nonce for source in sources if (match := NONCE.fullmatch(source))):
        return True
    if any(source.lower() == "'strict-dynamic'" for source in sources):
        return False  # then neither hosts nor 'self' count
    return _allows(sources, origins, path)


def _allows(sources: list[str], origins: Sequence[str], path: str) -> bool:
    return any(_matches(source.lower(), source, origin, path) for source in sources for origin in origins)


def _matches(source: str, written: str, origin: str, path: str) -> bool:
    if source in ("'self'", "*"):
        return True
    try:
        ours = urlsplit(origin)
        own_port = ours.port or DEFAULT_PORTS.get(ours.scheme)
    except ValueError:  # a Host header that names no host
        return False
    if source.endswith(":"):
        return source == f"{ours.scheme}:" or (source == "http:" and ours.scheme == "https")
    match = re.fullmatch(HOST_SOURCE, source)
    if match is None:
        return False
    scheme, host, port = match["scheme"] or ours.scheme, match["host"], match["port"]
    if scheme != ours.scheme and not (scheme == "http" and ours.scheme == "https"):
        return False
    own_host = (ours.hostname or "").lower()
    if host.startswith("*."):
        if not own_host.endswith(host[1:]):
            return False
    elif host not in ("*", own_host, f"[{own_host}]"):
        return False
    if port != "*" and (int(port) if port else DEFAULT_PORTS.get(ours.scheme)) != own_port:
        return False
    wanted = (re.fullmatch(HOST_SOURCE, written) or match)["path"]  # paths keep their case
    if wanted is None or wanted == "/":
        return True
    return path.startswith(wanted) if wanted.endswith("/") else path == wanted
