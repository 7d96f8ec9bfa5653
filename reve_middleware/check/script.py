"""Does the script load: its address, its type, its bytes, and how long caches keep it?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from reve_middleware import bridge

from .finding import Finding, shown
from .page import age
from .response import Response, path_of

JAVASCRIPT = frozenset({b"text/javascript", b"application/javascript", b"application/x-javascript"})
OTHER_DIGEST = "0" * 16
"""A `v` that no script has."""
MOST_PREFIXES = 3
"""Of a path that are tried."""


def digest_of(body: bytes) -> str:
    """What the tag's `v` is made of."""
    return hashlib.sha256(body).hexdigest()[:16]


def other_places(tag_url: str, page_url: str) -> list[str]:
    """Where the script may be, if it is not where the tag says: a proxy adds or strips a prefix that the server was
    not told about."""
    path, query = path_of(tag_url), urlsplit(tag_url).query
    origin = tag_url[: len(tag_url) - len(f"{path}?{query}" if query else path)]
    parents = path_of(page_url).split("/")[1:-1]
    added = ["/" + "/".join(parents[:count]) + path for count in range(1, min(len(parents), MOST_PREFIXES) + 1)]
    parts = path.split("/")[1:]
    stripped = ["/" + "/".join(parts[count:]) for count in range(1, min(len(parts) - 1, MOST_PREFIXES))]
    return [f"{origin}{one}?{query}" if query else f"{origin}{one}" for one in (*added, *stripped)]


def is_the_script(response: Response | None) -> bool:
    """Is this a bridge, of this release or of another?"""
    if response is None or response.status != 200 or response.body is None:
        return False
    return response.body == bridge.script()[0] or (response.kind in JAVASCRIPT and b"reve-middleware" in response.body)


def findings(
    digest: str, answer: Response | None, other: Response | None, path: str, found_at: str | None
) -> list[Finding]:
    """What the answers for the script say. `digest`: the tag's `v`; `other`: the answer to OTHER_DIGEST; `path`: the
    tag's; `found_at`: the path of one of `other_places` where it was."""
    if answer is None:
        return [
            Finding(
                "error",
                "script_unreachable",
                "The script does not load: no answer.",
                "Try again; if it stays so, the site's and the proxy's log say more.",
            )
        ]
    fault = _fault(answer, path, found_at)
    if fault is not None:
        return [fault]
    body = answer.body or b""
    found = [*_bytes(digest, body), *_kept(digest, answer, other)]
    if answer.values(b"set-cookie"):
        found.append(
            Finding(
                "warning",
                "script_cookie",
                "The script comes with a Set-Cookie, and caches may keep it with the script.",
                "Let the layer that sets it leave the script alone.",
            )
        )
    if answer.first(b"x-content-type-options").lower() != b"nosniff":
        found.append(
            Finding(
                "warning",
                "script_sniffed",
                "The script comes without X-Content-Type-Options: nosniff.",
                "A proxy has taken it out; let it pass.",
            )
        )
    return found


def _fault(answer: Response, path: str, found_at: str | None) -> Finding | None:
    """Why a browser could not run it."""
    text = f"The script does not load: {shown(path)} answers {answer.status}"
    if found_at is not None:
        return Finding(
            "error",
            "script_prefix",
            f"{text}, but it is at {shown(found_at)}.",
            "A proxy adds or strips a prefix. Tell the server (uvicorn --root-path /api, SCRIPT_NAME); where "
            "nobody strips "
            "it and nobody is told, pass path='/api/_reve'.",
        )
    if answer.status != 200:
        cure = {
            404: "Let the proxy hand this path to the application, prefix and all; or another layer outside "
            "answers first.",
            401: "Put the login inside of this middleware.",
            403: "Put the login inside of this middleware.",
        }.get(answer.status, "Put this middleware outside of the layer that answers.")
        return Finding("error", "script_status", f"{text}.", cure)
    if answer.kind not in JAVASCRIPT:
        return Finding(
            "error",
            "script_type",
            f"The script does not run: its type is {shown(answer.kind) or 'missing'}, not text/javascript.",
            "Another layer or a catch-all route answers at this path, or a proxy changes the type: put this middleware "
            "outside of it.",
        )
    if not answer.body:
        return Finding(
            "error",
            "script_empty",
            "The script is empty, or packed in a way that was not asked for.",
            "Let the proxy pass it as it is, and honour Accept-Encoding.",
        )
    return None


def _bytes(digest: str, body: bytes) -> Iterator[Finding]:
    ours, our_digest = bridge.script()
    actual = digest_of(body)
    if actual != digest and body == ours:
        yield Finding(
            "warning",
            "tag_outdated",
            "The tag names another hash (v=) than the script has: the page is older than the script, and "
            "browsers fetch the "
            "script anew each time.",
            "Purge caches that keep pages; a tag placed by hand comes from script_tag(request), not from a copy.",
        )
    elif actual != digest and b"reve-middleware" not in body:
        yield Finding(
            "error",
            "script_foreign",
            "What loads is not the script of reve-middleware.",
            "Another layer or route answers at this path: put this middleware outside of it, or pass another path=.",
        )
    elif actual != digest:
        yield Finding(
            "warning",
            "script_altered",
            "The script's bytes have not the hash that the tag names: something changes it on its way, or the "
            "tag is an "
            "old copy.",
            "Let optimisers (minifiers, CDN features) leave it alone; place the tag with script_tag(request).",
        )
    elif digest != our_digest:
        yield Finding(
            "ok", "script", "The script loads, and is what the tag names; the site has another release than this."
        )
    else:
        yield Finding("ok", "script", "The script loads, and is what the tag names (v=).")


def _kept(digest: str, answer: Response, other: Response | None) -> Iterator[Finding]:
    control = answer.cache_control
    is_current = digest_of(answer.body or b"") == digest
    seconds = control.get(b"max-age", b"0")
    if is_current and b"immutable" in control and seconds.isdigit() and seconds.strip(b"0"):
        yield Finding("ok", "script_kept", "Browsers keep the script for ever under its hash (immutable).")
    elif is_current:
        yield Finding(
            "warning",
            "script_not_kept",
            "Browsers do not keep the script, though its address names its hash: "
            f"Cache-Control: {shown(answer.first(b'cache-control')) or '(none)'}.",
            "Let the proxy pass our Cache-Control (public, max-age=31536000, immutable).",
        )
    if other is not None and other.status == 200 and (b"no-store" not in other.cache_control or age(other)):
        yield Finding(
            "error",
            "script_other_kept",
            "Under a hash that it has not, the script may be kept by caches: "
            f"Cache-Control: {shown(other.first(b'cache-control')) or '(none)'}.",
            "Let the proxy pass our Cache-Control (no-store) and heed the query: a new release must reach browsers.",
        )
