"""The chat's widget: is it in the page at all?"""

from __future__ import annotations

from collections.abc import Sequence

from .finding import Finding
from .page import Page
from .tag import Tag

SIGNS = (b"$_revechat_api", b"revechat.com", b"__revechat_account")
"""What stands in the script that REVE's dashboard gives for a site's head, in lower case."""


def findings(page: Page, tags: Sequence[Tag]) -> list[Finding]:
    """A tag with an account loads the widget by itself."""
    if not 200 <= page.shown.status < 300:
        return []  # who is not logged in, or finds nothing, may see another head
    body = (page.shown.body or b"").lower()
    if any(sign in body for sign in SIGNS) or any("data-account" in tag.attributes for tag in tags):
        return []
    return [
        Finding(
            "warning",
            "no_widget",
            "There is no sign of the chat's widget in the page, and without it nobody can chat.",
            "Paste the <script> from REVE's dashboard (or the one the sandbox printed) into the <head>, or pass "
            "account_id=. If a tag manager brings it, all is well.",
        )
    ]
