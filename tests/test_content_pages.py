"""What our layer writes into a page, as an HTML5 parser reads it (contract §2). 5,000 times: benchmarks/content.py."""

import re
from pathlib import Path
from random import Random

import pytest
from contents import Site, faults, random_site, visit
from drive import PAGE, Call, ShellKind, page, said

import reve_middleware

SITES = 120
BRIDGE = (Path(reve_middleware.__path__[0]) / "bridge.js").read_text()


def test_one_script_more_and_nothing_else(shell: ShellKind) -> None:
    """Whatever the function's name, the bots' and account's ids, path, mount, nonce and page: an HTML5 parser finds
    one script element more, first in the head, with the attributes expected and an address on this host."""
    tagged = 0
    for number in range(SITES):
        site = random_site(Random(number))
        after = visit(shell, site)
        assert faults(site, after) == [], (number, site)
        tagged += after != site.page
    assert tagged > SITES // 2


def test_a_bot_of_two_quotes() -> None:
    """The parser's verdict can be no: a tag whose values are not escaped is found out."""
    site = Site({"function": "identify", "path": "/_reve", "chatbot_id": '"x'}, "", [], PAGE)
    shell = ShellKind("asgi")
    after = visit(shell, site)
    assert faults(site, after) == []
    assert faults(site, after.replace(b"&quot;", b'"')) != []
    assert faults(site, PAGE.replace(b"<title>", b"<script></script><title>")) != []
    assert faults(site, after.replace(b"</body>", b"<p></body>")) == ["something else has changed"]


@pytest.mark.parametrize(
    "word",
    [
        r"\binnerHTML\b", r"\bouterHTML\b", r"insertAdjacentHTML", r"\bsrcdoc\b", r"document\.write", r"\beval\b",
        r"\bFunction\s*\(", r"\bDOMParser\b", r"createContextualFragment", r"setTimeout\(\s*[\"'`]", r"javascript:",
        r"\bimport\s*\(", r"localStorage", r"sessionStorage", r"indexedDB", r"document\.cookie", r"postMessage",
        r"setHTMLUnsafe", r"\.on[a-z]+\s*=",
    ],
)  # fmt: skip
def test_the_bridge_has_no_sinks(word: str) -> None:
    """The bridge makes no HTML and no code of text, keeps nothing in the browser, and speaks to no other window."""
    code = re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", BRIDGE, flags=re.DOTALL)
    assert re.search(word, code) is None


XHTML = b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml">%b<body/></html>'


@pytest.mark.parametrize("kind", ["application/xhtml+xml", "text/html"])
@pytest.mark.parametrize("head", [b"<head/>", b"<head />", b'<head profile="x"/>'])
def test_a_head_that_is_closed_at_once(shell: ShellKind, kind: str, head: bytes) -> None:
    """`<head/>` is an empty head in XHTML, and what comes behind it stands outside: the page passes untouched."""
    body = XHTML % head
    reply = shell.site(page(body, ("Content-Type", kind))).get()
    assert reply.body == body


SANDBOXES = {
    "sandbox": False,
    "sandbox allow-forms": False,
    "sandbox allow-scripts": False,
    "default-src 'self'; sandbox allow-same-origin": False,
    "sandbox allow-scripts allow-same-origin": True,
}


@pytest.mark.parametrize(("policy", "tagged"), SANDBOXES.items(), ids=SANDBOXES)
def test_a_page_in_a_sandbox(shell: ShellKind, caplog: pytest.LogCaptureFixture, policy: str, tagged: bool) -> None:
    """A page whose policy lets no script run, or leaves it no origin, is not touched; the log says so once, and
    advises nobody to open the sandbox."""
    caplog.set_level("INFO", "reve_middleware")
    visitor = shell.site(page(PAGE, ("Content-Security-Policy", policy)))
    bodies = {visitor.get().body for _ in range(3)}
    assert bodies == {PAGE} or tagged
    assert [code for code, _ in said(caplog)] == ([] if tagged else ["sandbox"])
    assert "allow" not in caplog.text


def test_a_forwarded_prefix_names_no_host(shell: ShellKind) -> None:
    """A mount that a proxy's header made up cannot lead the script to another host."""
    for mount in ("//evil.test", "/\\evil.test", "///evil.test/", "/\tevil.test"):
        wrapped = shell.wrap(shell.application(page()))
        call = Call(mount=mount.rstrip("/") or "/", headers=[("Host", "shop.example")])
        (source,) = re.findall(rb'src="([^"]*)"', shell.call(wrapped, call).body)
        assert re.match(rb"/[^/\\]", source), source
