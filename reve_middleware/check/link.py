"""The bot's webhook: is the link right, is the token taken? Outcomes in plain words; the link itself is never shown."""

from __future__ import annotations

from reve_middleware.outcome import Outcome

from .finding import Finding

SAMPLE = (
    "See the webhook in the bot's settings in REVE's dashboard (of the sandbox: what it printed at its last start), "
    "and paste webhook_url anew."
)

UNKNOWN = (
    Finding(
        "info",
        "unknown_body",
        "Not known of REVE: whether the body is nested, {botId, sessionId, data: {...}}, as in its sample app, "
        "or flat.",
        "Where pushes are accepted but the bot's attributes stay empty: payload='flat', or a callable.",
    ),
    Finding(
        "info",
        "unknown_answer",
        "Not known of REVE: what the webhook answers for a chat that has ended, or does not exist.",
        "A 2xx shows that link and token are right, not that a chat has heard.",
    ),
    Finding(
        "info",
        "unknown_rate",
        "Not known of REVE: the webhook's rate limits.",
        "429 and Retry-After are honoured; concurrency= says how many pushes are under way at once.",
    ),
    Finding(
        "info",
        "unknown_session_id",
        "Not known of REVE: which characters a session id may have, and how long it lives.",
        "Where reports are refused with 422: session_id_pattern=.",
    ),
    Finding(
        "info",
        "unknown_frame",
        "Not known of REVE: whether the widget ever calls the function from a frame instead of the page.",
        "Where no report comes, look for the call in the browser's console: chatbot.identify must exist where it "
        "is made.",
    ),
)
"""What no look can tell (docs/explanation/unknown.md). The rest of that table needs no row: the link is used
as pasted, and nothing depends on the promise."""


def reached(outcome: Outcome, *, is_https: bool, pushes: bool = False) -> list[Finding]:
    """A GET of the link without a token, which hands nothing over. `pushes`: will a push follow?"""
    if outcome.status is None:
        return [_not_reached(outcome.reason)]
    status = outcome.status
    if 300 <= status < 400:
        return [
            Finding(
                "warning",
                "webhook_redirects",
                f"The webhook answers a GET with {status}: a push that is redirected counts as failed.",
                "Paste the link it redirects to, if that is REVE's too.",
            )
        ]
    if status == 404 or status == 410:
        return [
            Finding(
                "warning",
                "webhook_not_found",
                f"The webhook's host answers, but {status} to a GET of the link; it may be for POST alone.",
                SAMPLE if pushes else f"--push tells for sure. {SAMPLE}",
            )
        ]
    if status >= 500:
        cure = "Wait, and try again; pushes are kept and tried again meanwhile."
        return [Finding("warning", "webhook_down", f"The webhook's host answers, but with {status}.", cure)]
    certificate = ", and its certificate is right" if is_https else ""
    return [Finding("ok", "webhook", f"The webhook's host answers ({status}){certificate}.")]


def pushed(outcome: Outcome) -> list[Finding]:
    """A push, with the token, to a session that cannot exist."""
    status = outcome.status
    if status is None:
        return [_not_reached(outcome.reason)]
    if outcome.kind == "delivered":
        return [Finding("ok", "push", f"The webhook takes the token that check was given ({status}).")]
    if outcome.kind == "token":
        return [
            Finding(
                "error",
                "push_token",
                f"The webhook refuses the token ({status}).",
                "Copy it anew: refreshing it in REVE's dashboard, or another start of the sandbox, ends the old one at "
                "once. Is it this bot's?",
            )
        ]
    if outcome.kind == "refused" and status == 404:
        return [
            Finding(
                "error",
                "push_not_found",
                "The webhook knows no such link or endpoint (404), or no such session.",
                f"Is --endpoint, where it is given, one that exists under the link? {SAMPLE}",
            )
        ]
    if outcome.kind == "refused":
        return [
            Finding(
                "warning",
                "push_refused",
                f"The webhook does not refuse the token, but this push ({status}).",
                "It may be for the session, which does not exist; else for the bot's id or the body: see payload=.",
            )
        ]
    if status == 429:
        return [Finding("warning", "push_again", "The webhook asks to wait (429).", "Try again later.")]
    if outcome.kind == "again":
        return [Finding("warning", "push_again", f"The webhook fails at the moment ({status}).", "Try again later.")]
    return [Finding("error", "push_hold", f"The webhook redirects, or is gone ({status}).", SAMPLE)]


def _not_reached(reason: str) -> Finding:
    text, cure = {
        "tls": (
            "The webhook's certificate is not right, or its host speaks no TLS: nothing would be sent.",
            "Is the host in the link spelled right? Does something between here and there unpack TLS?",
        ),
        "timeout": ("The webhook gives no answer in time.", "Does a firewall let this machine out to it?"),
    }.get(
        reason,
        (
            "The webhook cannot be reached.",
            "Is the host in the link spelled right? Does a firewall let us out? (Does the sandbox run?)",
        ),
    )
    return Finding("error", f"webhook_{reason}" if reason in ("tls", "timeout") else "webhook_unreachable", text, cure)
