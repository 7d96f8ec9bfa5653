"""Random sites, and what an HTML5 parser must find in their pages.

    site = random_site(Random(7))
    assert faults(site, body_before, body_after) == []

`JustHTML` is a parser that passes the html5lib tests; the program benchmarks/content.py asks Chromium's own as well.
"""

import re
from random import Random
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from drive import HTML, KEYWORDS, Call, ShellKind
from justhtml import JustHTML
from neutral import page

from reve_middleware import Bot
from reve_middleware.bridge import script

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
HOSTILE = (
    '"', "'", "<", ">", "&", "`", "=", "/", "\\", "</script>", "<script>", "<!--", "-->", "]]>", "&quot;", "&#34;",
    '"onload="', "javascript:", "//evil.test/", "\u2028", "\xa0", "é", "漢", "%22", "?", "#", ";", " ", "\t", "\n",
)  # fmt: skip
NONCES = ("abc", "aB3+/_-==", "r4nd0m", "A" * 64)
NO_NONCES = ("", "a===", '"><script>', "a b", "a'b", "é", "<", "&quot;")
HEADS = (
    "<!doctype html><html><head>", "<!DOCTYPE html>\n<html lang=en>\n<head data-x='a>b'>", "<head>",
    "\ufeff<html><head>", "<!-- <head> --><!doctype html><html><HEAD\n>", "<html class=\"<head>\"><head>",
    "<html>\n<!--x--!><head >",
)  # fmt: skip
BODIES = (
    "<title>x</title></head><body><p>text</p></body></html>",
    '<meta charset=utf-8><script>var a = "<head>";</script></head><body><script src=/a.js></script>',
    "<!-- no script --><base href=https://elsewhere.test/></head><body onload=x()>",
    "<noscript><link rel=stylesheet href=a></noscript><title><script></title></head><body></body>",
    "",
)


class Site(NamedTuple):
    """A random configuration, a random mount and a random page."""

    keywords: dict[str, Any]
    mount: str
    policies: list[str]
    page: bytes

    @property
    def bots(self) -> list[str]:
        if "bots" in self.keywords:
            return [bot.chatbot_id for bot in self.keywords["bots"]]
        return [self.keywords["chatbot_id"]]


def text(random: Random, letters: str, least: int, most: int) -> str:
    """Letters, and among them what quoting stumbles over, as far as these are letters."""
    found = ""
    hostile = [one for one in HOSTILE if set(one) <= set(letters)]
    while len(found) < least or random.random() < 0.85:
        piece = random.choice(hostile) if hostile and random.random() < 0.5 else random.choice(letters)
        if len(found) + len(piece) > most:
            return found
        found += piece
    return found


def random_site(random: Random) -> Site:
    word = "".join(map(chr, [*range(48, 58), *range(65, 91), 95, *range(97, 123)]))
    ids = random.sample([text(random, VISIBLE, 1, 128) or "bot" for _ in range(3)], random.choice([1, 1, 2]))
    keywords: dict[str, Any] = {
        "function": random.choice("$_abcXYZ") + text(random, word + "$", 1, 30),
        "path": "".join("/" + text(random, word + ".~-", 1, 12) for _ in range(random.randint(1, 3))),
    }
    if len({*ids}) == 2:
        hook = KEYWORDS["webhook_url"]
        keywords["bots"] = [Bot(webhook_url=hook, token="token-1", chatbot_id=one) for one in ids]
    else:
        keywords["chatbot_id"] = ids[0]
    if random.random() < 0.5:
        keywords["account_id"] = text(random, word + "-", 1, 20)
    mount = ""
    if random.random() < 0.7:
        letters = VISIBLE + " \té漢\u2028\xa0"
        mount = "/" + text(random, letters, 1, 30).strip("/")
    policies = []
    for _ in range(random.choice([0, 0, 1, 1, 2])):
        nonce = random.choice(NONCES if random.random() < 0.7 else NO_NONCES)
        sources = random.sample([f"'nonce-{nonce}'", "'self'", "'strict-dynamic'", "'unsafe-inline'"], 2)
        policies.append(f"script-src {' '.join(sources)}".encode().decode("latin-1"))
    whole = random.choice(HEADS) + random.choice(BODIES)
    return Site(keywords, "" if mount == "/" else mount, policies, whole.encode())


def visit(shell: ShellKind, site: Site) -> bytes:
    """The page as it leaves our layer."""
    headers = [("Content-Security-Policy", policy) for policy in site.policies]
    wrapped = shell.wrap(shell.application(page(site.page, *headers)), **site.keywords)
    reply = shell.call(wrapped, Call(mount=site.mount, headers=[("Host", "shop.example")]))
    assert (reply.status, reply.header("content-type")) == (200, HTML)
    return reply.body


def expected(site: Site, nonce: str | None) -> dict[str, str]:
    """The attributes of the one element more."""
    found = {"data-function": site.keywords["function"]}
    if len(site.bots) == 1:
        found["data-bot"] = site.bots[0]
    if "account_id" in site.keywords:
        found["data-account"] = site.keywords["account_id"]
    if nonce is not None:
        found["nonce"] = nonce
    return found


def faults(site: Site, after: bytes) -> list[str]:
    """What is not as it should be with the page that came out."""
    if after == site.page:
        allowed = not site.policies
        return ["no tag, though nothing speaks against it"] if allowed else []
    before_tree, tree = (JustHTML(one.decode("utf-8-sig"), sanitize=False) for one in (site.page, after))
    scripts = tree.query("script")
    if len(scripts) != len(before_tree.query("script")) + 1:
        return [f"{len(scripts)} script elements"]
    found = tree.query("head > *")[0]
    if found is not scripts[0]:
        return ["the first in the head is another"]
    attributes = dict(found.attrs)
    wrong = wrong_attributes(site, attributes)
    found.parent.remove_child(found)
    if tree.to_html() != before_tree.to_html():
        wrong.append("something else has changed")
    return wrong


def wrong_attributes(site: Site, attributes: dict[str, str]) -> list[str]:
    """What is wrong with the attributes that a parser found."""
    wrong = []
    source, nonce = attributes.pop("src", ""), attributes.get("nonce")
    parts = urlsplit(source)
    path = f"/{site.mount.strip('/')}" if site.mount.strip("/") else ""
    if not re.fullmatch(r"/[A-Za-z0-9_.~/%-]*\?v=[0-9a-f]{16}", source) or source.startswith("//"):
        wrong.append(f"no path of this host: {source!r}")
    if unquote(parts.path) != f"{path}{site.keywords['path']}/bridge.js" or parts.query != f"v={script()[1]}":
        wrong.append(f"not the bridge's address: {source!r}")
    if attributes != expected(site, nonce):
        wrong.append(f"{attributes!r} is not {expected(site, nonce)!r}")
    if nonce is not None and not any(f"'nonce-{nonce}'" in policy for policy in site.policies):
        wrong.append(f"a nonce of nobody: {nonce!r}")
    return wrong
