"""The README and docs/: what they name is there, and what they show can be run."""

import ast
import re
import shlex
from pathlib import Path
from typing import get_type_hints

import pytest

from reve_middleware.cli.group import COMMANDS, commands
from reve_middleware.settings import Keywords

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```(\{?[\w-]+\}?)[^\n]*\n(.*?)^ *```", re.M | re.S)
LINK = re.compile(r"(?<!`)\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
OPTIONS = {command.name: {one for each in command.params for one in each.opts} for command in COMMANDS}


def blocks(page: Path, *kinds: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind in kinds]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_what_there_is(page: Path) -> None:
    """No link inside the repository is dead, every included file is there, and Python on a page is Python."""
    text = page.read_text()
    for target in LINK.findall(BLOCK.sub("", text)):
        assert re.match(r"(https?|mailto):", target) or (page.parent / target).exists(), target
    for target in re.findall(r"```\{literalinclude\} (\S+)", text):
        assert (page.parent / target).is_file(), target
    for code in blocks(page, "python"):
        ast.parse(code.replace(", …", ", *[...]").replace("…", "..."))


def test_every_command_line_is_one() -> None:
    """Each `reve-middleware …` in a block of the shell is a command with options that it takes."""
    seen = 0
    for page in PAGES:
        for text in blocks(page, "sh", "console"):
            for line in re.findall(r"^(?:\$ )?(?:.*&& (?:\.venv/bin/)?)?(reve-middleware .*)$", text, re.M):
                words = shlex.split(line, comments=True)
                if words[1].startswith("-"):
                    continue
                command = commands.commands[words[1]]
                given = {word.partition("=")[0] for word in words if word.startswith("--")}
                assert given <= OPTIONS[command.name] | {"--help"}, line
                seen += 1
    assert seen > 5


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
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
