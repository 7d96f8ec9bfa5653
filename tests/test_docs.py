"""The README and docs/: what they name is there. What they show is run by test_docs_blocks.py."""

import re
from pathlib import Path
from typing import get_type_hints

import pytest
from pages import BLOCK, PAGES, ROOT

from reve_middleware import notes
from reve_middleware.settings import Keywords

LINK = re.compile(r"(?<!`)\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_what_there_is(page: Path) -> None:
    """No link inside the repository is dead, to a file or to a heading, and every included file is there."""
    text = page.read_text()
    for target, heading in LINK.findall(BLOCK.sub("", text)):
        if re.match(r"(https?|mailto):", target):
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not heading or heading in anchors(there), f"{target}#{heading}"
    for target in re.findall(r"```\{literalinclude\} (\S+)", text):
        assert (page.parent / target).is_file(), target
    for path in re.findall(r"`((?:examples|tests|docs|reve_middleware)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path


def keyword_rows(page: str) -> dict[str, str]:
    """The rows of a page's table of keywords, without links."""
    section = (ROOT / page).read_text().partition("# Keywords")[2]
    table = section.partition("\n| keyword |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", re.sub(r" \[[^]]*\]\([^)]*\)", "", table), re.M)
    assert len(rows) == len(dict(rows)), "a keyword comes twice"
    return dict(rows)


def test_the_table_of_keywords_is_whole() -> None:
    """The reference has each keyword, once, and no other; the README's rows are rows of it."""
    reference, readme = keyword_rows("docs/reference/keywords.md"), keyword_rows("README.md")
    assert sorted(reference) == sorted(get_type_hints(Keywords))
    assert {"webhook_url", "token", "chatbot_id", "secret_key", "profile", "dev", "outbox"} <= {*readme}
    for name, row in readme.items():
        assert row.rstrip(".") == reference[name].rstrip("."), name


def test_the_readme_fits_on_one_page() -> None:
    """A newcomer reads it to the end; what is longer has its place in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220


def code_of(*globs: str) -> str:
    """The text of these files, with texts that go over several lines joined."""
    text = "".join(path.read_text() for glob in globs for path in sorted(ROOT.glob(glob)))
    return re.sub(r'"\s*\n\s*f?"', "", text)


def test_troubleshooting_quotes_what_is_said() -> None:
    """What a mistake is told by is a code or a text that the code has, or that a test reads."""
    said = code_of("reve_middleware/*.py", "reve_middleware/bridge.js", "tests/test_mistakes*.py")
    said += "ReveMiddleware.__call__() missing"  # Python's
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = [one for row in re.findall(r"^\| (.*?) \|", page, re.M) for one in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 30
    for text in quoted:
        assert all(part.strip() in said for part in text.split("…")), text


def test_the_log_has_no_other_codes() -> None:
    """Each code of a record stands on the page about the log; those of the notes in the table made from them."""
    page = (ROOT / "docs" / "reference" / "log.md").read_text()
    assert "```{notes-table}" in page
    codes = {*re.findall(r'"reve": "(\w+)"', code_of("reve_middleware/*.py")), "no_token", "tls", "request", "network"}
    assert {"token_wrong", "left_behind", "outbox"} <= codes
    assert [code for code in sorted(codes - {*notes.TEXTS}) if f"`{code}`" not in page] == []
