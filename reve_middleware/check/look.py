"""One look: what is asked for, in which order, and what is made of the answers."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from reve_middleware import bridge, push, webhook
from reve_middleware.bot import Bot
from reve_middleware.capture import CHECK

from . import caching, cookies, link, page, policy, refusals, script, tag, widget
from .browser import SCRIPT, Browser, Unreachable, reach
from .finding import Finding, Report, shown
from .page import Page
from .response import Response, origin_of, path_of, resolved

MOST_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
DEFAULT_PATH = "/_reve"
NO_ADDRESS = "Its Location must be an address that begins with http://, https:// or a slash."

COOKIE_WITHHELD = Finding(
    "warning",
    "cookie_withheld",
    "The cookie was not sent: over plain http whoever is on the way could read it.",
    "Give the https address of the page.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to look at, and how far to go."""

    url: str = field(repr=False)
    path: str | None = None
    """As in `path=`; None where the tag is to tell it."""
    cookie: str = field(default="", repr=False)
    session_id: str | None = field(default=None, repr=False)
    """Of a chat that is really to be captured; None: no capture."""
    chatbot_id: str | None = None
    bot: Bot | None = None
    """Whose webhook is to be tried; None: no webhook."""
    endpoint: str | None = None
    pushes: bool = False
    """Is its token to be tried, with a push to a session that cannot exist?"""
    payload: push.Payload = "nested"
    ca_file: str | None = field(default=None, repr=False)
    seconds: float = 10.0
    """For one request."""


async def look(wish: Wish) -> Report:
    """Everything that was found, in the order of the flow. `OSError` for a wrong `ca_file`."""
    async with Browser(wish.url, cookie=wish.cookie, ca_file=wish.ca_file, seconds=wish.seconds) as browser:
        found, seen = await _page(browser, wish)
        if wish.cookie and not caching.is_trustworthy(wish.url if seen is None else seen.url):
            found.append(COOKIE_WITHHELD)
        if seen is not None:
            found += await _flow(browser, wish, seen)
    if wish.bot is not None:
        found += await _webhook(wish, wish.bot)
    return Report(found, seen is not None)


async def _answer(browser: Browser, probe: refusals.Probe, url: str) -> Response | None:
    """None where nothing came back."""
    cookie = None if probe.headers.get("Sec-Fetch-Site") == "same-origin" else ""
    try:
        return await browser.fetch(url, probe.headers, method=probe.method, body=probe.body, cookies=cookie)
    except Unreachable:
        return None


# The page ------------------------------------------------------------------------------------------


async def _page(browser: Browser, wish: Wish) -> tuple[list[Finding], Page | None]:
    found: list[Finding] = []
    url = wish.url
    try:
        asked = await browser.navigate(url)
        for _ in range(MOST_REDIRECTS):
            if asked.status not in REDIRECTS or not asked.values(b"location"):
                break
            target = resolved(url, asked.first(b"location").decode("latin-1"))
            step = redirect(url, target, asked.status)
            found.append(step)
            if target is None or step.level == "error":
                return found, None
            url, browser.origin = target, origin_of(target)
            asked = await browser.navigate(url)
    except Unreachable as error:
        cure = "Does the site run, and can this machine reach it?"
        return [*found, Finding("error", "unreachable", f"The page cannot be reached: {error}.", cure)], None
    if asked.status in REDIRECTS:
        text = f"The page redirects more than {MOST_REDIRECTS} times."
        return [*found, Finding("error", "redirects", text, "Does it redirect to itself, waiting for a cookie?")], None
    found += page.status(asked)
    if found[-1].level == "error":
        return found, None
    try:
        plain = await browser.navigate(url, encoding="identity")
    except Unreachable:
        plain = asked
    seen = Page(url, asked, plain, tag.tags_of(asked, url, wish.path), tag.tags_of(plain, url, wish.path))
    return found + page.compression(seen), seen


def redirect(url: str, target: str | None, status: int) -> Finding:
    """What one step of a redirect means. `target`: whole, None where it is no address."""
    origin = origin_of(target or "")
    if target is None or origin is None:
        return Finding("error", "redirect_wrong", f"The page redirects ({status}) to what is no address.", NO_ADDRESS)
    if origin == origin_of(url):
        if path_of(target).rstrip("/") == path_of(url).rstrip("/"):
            return Finding("info", "redirect", f"The page redirects ({status}) to {shown(path_of(target))}.")
        return Finding(
            "warning",
            "redirect",
            f"The page redirects ({status}) to {shown(path_of(target))}; what follows is about that one.",
            "If that is a login: give the browser's session cookie, in a file (--cookie-file) or in REVE_CHECK_COOKIE.",
        )
    if origin == (origin_of(url) or "").replace("http://", "https://", 1):
        return Finding("info", "redirect_https", f"The page redirects ({status}) to https.")
    return Finding(
        "error",
        "redirect_elsewhere",
        f"The page redirects ({status}) to {shown(origin)}, where nothing is sent.",
        "Look at the address it ends at; for a login elsewhere give the browser's session cookie (--cookie-file).",
    )


# The tag, the script, the capture path -------------------------------------------------------------


async def _flow(browser: Browser, wish: Wish, seen: Page) -> list[Finding]:
    if seen.all_tags:
        found, where = await _with_tag(browser, wish, seen)
    else:
        path = wish.path or DEFAULT_PATH
        here = f"{browser.origin}{path}{tag.SCRIPT}?v={bridge.script()[1]}"
        where = await _first_script(browser, [here, *script.other_places(here, seen.url)])
        found = page.without_tag(seen, bridge_is_there=where is not None, path=path)
    found += caching.findings(seen)
    if where is not None:
        found += await _capture(browser, wish, seen, path_of(where).removesuffix(tag.SCRIPT) + "/session")
    return found


async def _with_tag(browser: Browser, wish: Wish, seen: Page) -> tuple[list[Finding], str | None]:
    """What there is to say of a tag and its script, and where the script is."""
    first = seen.all_tags[0]
    found = tag.findings(seen.all_tags, seen.url, wish.chatbot_id) + policy.findings(seen, first)
    found += widget.findings(seen, seen.all_tags)
    if origin_of(first.url) != browser.origin:
        return found, None
    answer = await _script(browser, first.url)
    found_at = None
    if not script.is_the_script(answer):
        found_at = await _first_script(browser, script.other_places(first.url, seen.url))
    here = first.url.partition("?")[0]
    other = await _script(browser, f"{here}?v={script.OTHER_DIGEST}") if script.is_the_script(answer) else None
    at = None if found_at is None else path_of(found_at)
    found += script.findings(first.digest, answer, other, path_of(first.url), at)
    is_missing = answer is None or answer.status == 404
    return found, found_at or (None if is_missing else first.url)


async def _script(browser: Browser, url: str) -> Response | None:
    try:
        return await browser.fetch(url, SCRIPT)
    except Unreachable:
        return None


async def _first_script(browser: Browser, urls: Iterable[str]) -> str | None:
    for url in urls:
        if script.is_the_script(await _script(browser, url)):
            return url
    return None


async def _capture(browser: Browser, wish: Wish, seen: Page, path: str) -> list[Finding]:
    origin = browser.origin or ""
    url = f"{origin}{path}"
    sent = refusals.probes(origin)
    answers = {probe.code: await _answer(browser, probe, url) for probe in sent}
    is_loopback = caching.is_loopback(seen.url)
    found = refusals.findings(sent, answers, seen.url, is_loopback=is_loopback)
    if refusals.reason_of(answers["control"]) != "ids":
        return found
    is_https = origin.startswith("https://")
    control = sent[0]
    forgotten = await _forget(browser, url, control, cookie="")
    found += cookies.forgetting(forgotten, is_https=is_https)
    if wish.session_id is not None and forgotten is not None:
        names = {one.name for one in cookies.dropped(forgotten)}
        found += await _real_capture(browser, wish, seen, url, control, names)
    return found


async def _real_capture(
    browser: Browser, wish: Wish, seen: Page, url: str, control: refusals.Probe, names: set[str]
) -> list[Finding]:
    body = json.dumps({"session_id": wish.session_id, "chatbot_id": wish.chatbot_id}).encode()
    answer = await _answer(browser, control._replace(body=body), url)
    found = cookies.captured(answer, names, is_https=url.startswith("https://"))
    kept = [one for one in cookies.set_cookies(answer or Response(0)) if one.name in names and not cookies.deletes(one)]
    if not kept:
        return found
    site = cookies.without(browser.cookies, names)
    header = "; ".join([*([site] if site else []), *(f"{one.name}={one.value}" for one in kept)])
    try:
        with contextlib.suppress(Unreachable):  # it was there a moment ago, and nothing hangs on it
            found += cookies.page_with_chat(await browser.navigate(seen.url, cookies=header), names)
    finally:  # whoever presses Ctrl-C leaves no chat behind either
        found += cookies.undone(await _forget(browser, url, control, header))
    return found


async def _forget(browser: Browser, url: str, control: refusals.Probe, cookie: str) -> Response | None:
    headers = {name: value for name, value in control.headers.items() if name != "Content-Type"}
    try:
        return await browser.fetch(url, headers, method="DELETE", cookies=cookie)
    except Unreachable:
        return None


# The webhook -----------------------------------------------------------------------------------------


async def _webhook(wish: Wish, bot: Bot) -> list[Finding]:
    address = bot.url(wish.endpoint)
    found = link.reached(
        await reach(address, wish.seconds), is_https=address.startswith("https://"), pushes=wish.pushes
    )
    if wish.pushes and found[-1].level != "error":
        session_id = f"{CHECK}-{secrets.token_hex(8)}"
        body = push.encode_body(wish.payload, bot.chatbot_id, session_id, b"{}")
        client = webhook.Clients(None).take()
        with webhook.quietly():
            outcome = await webhook.attempt(client, bot, wish.endpoint, body, bot.token.reveal(), wish.seconds)
            await client.aclose()
        found += link.pushed(outcome)
    return found if caching.is_loopback(address) else [*found, *link.UNKNOWN]  # the sandbox is no riddle
