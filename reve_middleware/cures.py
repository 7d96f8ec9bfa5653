"""What to do about an outcome of the webhook, in words for the log. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .outcome import Outcome

REFUSED = "bot %s refused a push (%s); it is dropped%s"
NOT_REACHED = "bot %s is not reached (%s); pushes wait%s"
HAS_NONE = "bot %s: token= gives no token (%s); its pushes wait, and it is asked once a minute%s"
HAS_A_WRONG_ONE = "bot %s does not accept the token (%s); its pushes wait, and it is probed once a minute%s"
WRONG_LINK = "bot %s: the webhook link does not work (%s); its pushes wait, and it is probed every 5 minutes%s"
"""Filled with the bot, the outcome's code and its cure."""

LINK = (
    "paste the bot's own webhook link from REVE's dashboard (of the sandbox: what it printed at its last start) into "
    "webhook_url= (REVE_WEBHOOK_URL), and name in endpoint= only what is an endpoint under it"
)
REFRESHED = (
    "paste the token anew from REVE's dashboard (of the sandbox: what it printed last) into token= (REVE_TOKEN); to "
    "refresh it there ends the old one at once"
)
BODY = "is chatbot_id= that of this link's bot, and does its endpoint take such data? payload= changes the body"
MOVED = f"redirects are not followed: {LINK}"
CURES = {
    "status_401": REFRESHED,
    "status_403": REFRESHED,
    "status_404": LINK,
    "status_405": LINK,
    "status_410": LINK,
    "status_400": BODY,
    "status_415": BODY,
    "status_422": BODY,
    "tls": "its certificate is not accepted; is the host of webhook_url= right?",
    "request": LINK,
    "network": "is the host of webhook_url= right, and may this machine reach it?",
    "timeout": "is the host of webhook_url= right, and may this machine reach it?",
}


def held_for(reason: str, token: bool) -> str:
    """The complaint about a bot whose pushes are held, for the `token` or for the link."""
    if not token:
        return WRONG_LINK
    return HAS_NONE if reason == "no_token" else HAS_A_WRONG_ONE


def cure_of(outcome: Outcome) -> str:
    """The rest of a sentence of the log; empty where there is nothing to do but to wait."""
    cure = CURES.get(outcome.reason, MOVED if outcome.status is not None and 300 <= outcome.status < 400 else "")
    return f": {cure}" if cure else ""
