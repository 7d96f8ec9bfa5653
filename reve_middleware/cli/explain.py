"""What a push came to, in plain words; and what to do about it. No word of REVE's that it does not say itself: its
public pages name no error code of the webhook, so a status means here what HTTP says it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reve_middleware.outcome import Outcome

COPY_LINK = "Copy the webhook link anew from the bot's webhook settings in REVE's dashboard."
NOT_AGAIN = (
    "It may have arrived all the same: look into the chat before you push again, for each push runs the bot's flow."
)
REFRESHED = (
    "Refreshing the token in REVE's dashboard invalidates the old one at once: copy the one that the bot's webhook "
    "settings show now, and put it everywhere the old one was. There is one token for each bot: is it this bot's?"
)
REASONS = {
    "timeout": ("no answer in time", NOT_AGAIN),
    "network": (
        "no connection, or it broke off",
        "See that the link's host is spelt right and that this machine may reach it (name server, firewall). Proxies "
        "named in the environment are not used. Where it broke off: " + NOT_AGAIN[0].lower() + NOT_AGAIN[1:],
    ),
    "tls": (
        "no TLS connection that can be trusted",
        "Is the link's host right? A company's proxy that opens TLS shows a certificate of its own, and "
        "that is not accepted here.",
    ),
    "request": ("the link cannot be asked", COPY_LINK),
}
STATUSES = {
    401: ("the token is not valid, or not any more", REFRESHED),
    403: ("the token may not do this, or is not valid any more", REFRESHED),
    408: ("the webhook did not get the whole request in time", "Try again in a while."),
    410: ("this webhook does not exist any more", COPY_LINK),
    413: ("the profile is too large for the webhook", "Send fewer or shorter fields."),
    429: ("too many requests", "Wait, then try again. REVE names no limit for the webhook."),
}


class Explained(NamedTuple):
    """A line that says what happened, and a paragraph that says what to do."""

    happened: str
    cure: str


def explain(outcome: Outcome, endpoint: str | None, payload: str) -> Explained:
    """An outcome in words. `endpoint` and `payload` are what was asked for."""
    if outcome.status is None:
        happened, cure = REASONS[outcome.reason]
        return Explained(f"Not delivered: {happened}.", cure)
    if outcome.kind == "delivered":
        return Explained(f"Delivered: the webhook answered {outcome.status}.", _what_now(endpoint))
    happened, cure = STATUSES.get(outcome.status) or _by_class(outcome.status, endpoint, payload)
    if outcome.retry_after is not None:
        cure = f"The webhook asks to wait for {outcome.retry_after:.0f} s. {cure}"
    return Explained(f"Not delivered: {happened} ({outcome.status}).", cure)


def _what_now(endpoint: str | None) -> str:
    where = f"endpoint {endpoint!r}" if endpoint else "webhook"
    return (
        f"The bot now runs the flow that its {where} names, in that chat. If nothing is seen there, the session may be "
        "over: what REVE answers then is not documented."
    )


def _by_class(status: int, endpoint: str | None, payload: str) -> tuple[str, str]:
    if status >= 500:
        return "the webhook's server failed", "Try again in a while; the middleware does so by itself."
    if status < 400:
        return "the webhook sends elsewhere", f"Redirects are not followed, for the token would go along. {COPY_LINK}"
    if status == 404:
        return "there is nothing at this address", _address(endpoint)
    return "the webhook refuses it", _body(payload)


def _address(endpoint: str | None) -> str:
    if endpoint is None:
        return f"{COPY_LINK} If the bot has an endpoint, name it: --endpoint NAME."
    return f"Has the bot an endpoint of the name {endpoint!r}? It is appended to the link. {COPY_LINK}"


def _body(payload: str) -> str:
    other = "flat" if payload == "nested" else "nested"
    return (
        f"Whether REVE wants its data nested or flat is not documented: try --payload {other}. Is the chatbot id that "
        "of the link's bot, and the session one that is under way? The middleware would not repeat this push."
    )
