"""Does the capture path refuse what it must? Every probe here is one that must be refused: none can capture a chat.

What is sent, and what the answers mean. A browser of another site cannot leave out or forge what is left out or wrong
in them (Fetch Metadata §2; contract §3).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from reve_middleware import capture

from .finding import Finding, shown
from .response import Response

STRANGER: Final = "https://stranger.invalid"
"""An origin that nobody has (RFC 6761 §6.4)."""
JSON: Final = {"Content-Type": "application/json"}
BRIDGE: Final = {"X-Reve-Bridge": "1"}
NO_IDS: Final = b"{}"
OVERSIZED: Final = json.dumps({"filler": "x" * (2 * capture.LARGEST_BODY)}).encode()

OUTSIDE = (
    "A layer outside of this middleware answers first: put this middleware outside of login, CSRF, CORS and routing."
)


class Probe(NamedTuple):
    """A request that must be refused."""

    code: str
    what: str
    """In words."""
    method: str
    headers: dict[str, str]
    body: bytes
    reason: str
    """The refusal: a key of `capture.PROBLEMS`."""

    @property
    def status(self) -> int:
        return capture.PROBLEMS[self.reason][0]


def probes(origin: str) -> list[Probe]:
    """`control` and `host` differ from a report in nothing but that they name no chat."""
    same = {
        "Origin": origin,
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "same-origin",
        "Sec-Fetch-Dest": "empty",
    }
    cross = {**same, "Origin": STRANGER, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-reve-bridge"}
    sibling = {**cross, "Sec-Fetch-Site": "same-site"}
    return [
        Probe("control", "a report without ids", "POST", {**same, **JSON, **BRIDGE}, NO_IDS, "ids"),
        Probe("host", "a report without Fetch Metadata", "POST", {"Origin": origin, **JSON, **BRIDGE}, NO_IDS, "ids"),
        Probe("no_origin", "a report of unknown origin", "POST", {**JSON, **BRIDGE}, NO_IDS, "cross_origin"),
        Probe("cross_site", "another site's report", "POST", {**cross, **JSON, **BRIDGE}, NO_IDS, "cross_origin"),
        Probe("same_site", "a sibling host's report", "POST", {**sibling, **JSON, **BRIDGE}, NO_IDS, "cross_origin"),
        Probe("stranger", "a foreign Origin", "POST", {"Origin": STRANGER, **JSON, **BRIDGE}, NO_IDS, "cross_origin"),
        Probe("no_bridge", "a report without the bridge's header", "POST", {**same, **JSON}, NO_IDS, "no_bridge"),
        Probe(
            "form",
            "a form",
            "POST",
            {**same, **BRIDGE, "Content-Type": "application/x-www-form-urlencoded"},
            b"a=b",
            "media_type",
        ),
        Probe("oversized", "a body of 4 KiB", "POST", {**same, **JSON, **BRIDGE}, OVERSIZED, "too_large"),
        Probe("cross_forget", "another site's DELETE", "DELETE", {**cross, **BRIDGE}, b"", "cross_origin"),
        Probe("get", "GET", "GET", dict(same), b"", "method"),
        Probe("preflight", "a CORS preflight", "OPTIONS", {**cross, **asks}, b"", "method"),
    ]


def reason_of(answer: Response | None) -> str | None:
    """Which of our refusals this is; None where it is none of ours."""
    if answer is None or answer.kind != b"application/problem+json":
        return None
    try:
        said = json.loads(answer.body or b"")
        detail = said.get("detail") if isinstance(said, dict) else None
    except (ValueError, RecursionError):
        return None
    return next((key for key, problem in capture.PROBLEMS.items() if problem[::2] == (answer.status, detail)), None)


def findings(
    sent: list[Probe], answers: Mapping[str, Response | None], url: str, *, is_loopback: bool
) -> list[Finding]:
    """What the answers to all probes say. `url`: of the page."""
    control = reason_of(answers.get("control"))
    is_plain = url.startswith("http://")
    if control not in ("ids", "plain_http"):
        return [_not_ours(control, answers.get("control"))]
    found = []
    if control == "plain_http":
        found.append(
            Finding(
                "error",
                "plain_http",
                "The site is on plain http, so no chat is captured: browsers would drop the cookies.",
                "On a developer's machine pass dev=True." if is_loopback else "Serve the site over https.",
            )
        )
    elif is_plain and not is_loopback:
        found.append(
            Finding(
                "error",
                "dev_in_public",
                "The site takes reports over plain http (dev=True): whoever is on the way reads the cookies.",
                "Serve the site over https, and leave dev=True out.",
            )
        )
    elif is_plain:
        found.append(
            Finding("ok", "dev", "Plain http on this machine: dev=True is set, as it must be here, and only here.")
        )
    found += _refused(sent, answers, control)
    return found + _host(answers.get("host"), control) + _open(answers) + _headers(answers)


def _not_ours(reason: str | None, answer: Response | None) -> Finding:
    if answer is None:
        return Finding(
            "error",
            "capture_unreachable",
            "The capture path gives no answer to a POST.",
            "Let the proxy or firewall pass POST and DELETE to it.",
        )
    if reason == "cross_origin":
        return Finding(
            "error",
            "capture_refuses_all",
            "The capture path takes a report of the site's own page for another site's.",
            "Let the proxy hand on Host, Origin and Sec-Fetch-Site as they came; or name the site in allowed_origins=.",
        )
    if reason == "no_bridge":
        return Finding(
            "error",
            "capture_header_lost",
            "The header X-Reve-Bridge does not reach the capture path.",
            "Let the proxy or firewall pass it.",
        )
    what = f"{answer.status}, {shown(answer.kind) or 'without a type'}"
    if answer.status == 404:
        cure = "Let the proxy hand this path to the application, prefix and all."
    elif answer.status in (301, 302, 303, 307, 308):
        cure = f"A redirect loses the report. {OUTSIDE}"
    else:
        cure = OUTSIDE
    return Finding("error", "capture_foreign", f"Something else answers on the capture path: {what}.", cure)


def _refused(sent: list[Probe], answers: Mapping[str, Response | None], control: str) -> list[Finding]:
    """The probes that no page of the site itself could send."""
    found, right, wrong = [], 0, 0
    for probe in sent:
        if probe.code in ("control", "host"):
            continue
        answer = answers.get(probe.code)
        if answer is not None and answer.status == probe.status:
            right += 1
        elif control == "plain_http" and reason_of(answer) == "plain_http":
            continue  # refused before it came to that
        else:
            wrong += 1
            found.append(_wrong(probe, answer))
    if right:
        of_all = f"{right} of {right + wrong} requests that it must refuse"
        found.insert(0, Finding("ok", "refuses", f"The capture path refuses {of_all}."))
    return found


def _wrong(probe: Probe, answer: Response | None) -> Finding:
    code = f"refuses_{probe.code}"
    if answer is None:
        cure = "Does a proxy or firewall swallow it? For browsers that is as good as a refusal."
        return Finding("warning", code, f"The capture path gives no answer to {probe.what}.", cure)
    is_harmless = answer.status >= 300 and reason_of(answer) != "ids"
    text = f"The capture path answers {answer.status} to {probe.what}, not {probe.status}."
    return Finding("warning" if is_harmless else "error", code, text, OUTSIDE)


def _host(answer: Response | None, control: str) -> list[Finding]:
    reason = reason_of(answer)
    if control == "plain_http" or answer is None:
        return []
    if reason == "ids":
        return [Finding("ok", "host", "The Host header reaches the application as browsers send it.")]
    return [
        Finding(
            "warning",
            "host_changed",
            f"A report with the page's own Origin, but without Fetch Metadata, is refused ({answer.status}): "
            "older browsers "
            "report no chat.",
            "Let the proxy hand on Host (nginx: proxy_set_header Host $http_host) and, for https, "
            "X-Forwarded-Proto; or name "
            "the site in allowed_origins=.",
        )
    ]


def _open(answers: Mapping[str, Response | None]) -> list[Finding]:
    """CORS headers: none are ours."""
    allowing = [one for one in answers.values() if one is not None and one.values(b"access-control-allow-origin")]
    if not allowing:
        return [Finding("ok", "no_cors", "The capture path has no CORS headers.")]
    lets_in = any(one.first(b"access-control-allow-credentials").lower() == b"true" for one in allowing)
    return [
        Finding(
            "error" if lets_in else "warning",
            "cors",
            f"A layer outside puts CORS headers on the capture path{', with credentials' if lets_in else ''}: "
            "other sites may "
            "read its answers.",
            "Put the CORS layer inside of this middleware, or limit it to the paths of your interface.",
        )
    ]


def _headers(answers: Mapping[str, Response | None]) -> list[Finding]:
    ours = [one for one in answers.values() if one is not None and reason_of(one) is not None]
    found = []
    if any(b"no-store" not in one.cache_control for one in ours):
        found.append(
            Finding(
                "warning",
                "capture_kept",
                "Answers of the capture path come without Cache-Control: no-store.",
                "A proxy has taken it out; let it pass.",
            )
        )
    if any(one.status == 405 and not one.values(b"allow") for one in ours):
        found.append(
            Finding(
                "warning", "no_allow", "A 405 of the capture path comes without Allow.", "A proxy has taken it out."
            )
        )
    return found
