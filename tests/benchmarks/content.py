"""Random sites (names, ids, paths, mounts, nonces, pages), each page parsed with two HTML5 parsers.

    python tests/benchmarks/content.py [--count 5000] [--seed 0] [--no-browser]

For each: exactly one script element more, with the attributes expected, first in the head, and nothing else changed
(JustHTML); and its `src` leads to this host, whatever stands in the mount (JustHTML and Chromium). Half of the sites
are WSGI. Prints the counts and every site that is not right; exit status 1 where there is one. Some 10 s.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[0:0] = [str(HERE.parent), str(HERE.parents[1])]

from browser import chromium  # noqa: E402
from contents import Site, faults, random_site, visit, wrong_attributes  # noqa: E402
from drive import ShellKind  # noqa: E402

AT_ONCE = 500
"""Pages for Chromium in one call."""
PARSE = """(pages) => pages.map(([before, after]) => {
  const parse = (text) => new DOMParser().parseFromString(text, "text/html");
  const count = (tree) => tree.getElementsByTagName("*").length;
  const tree = parse(after), first = tree.head.firstElementChild;
  if (first === null || first.localName !== "script") return ["the head begins with no script"];
  if (count(tree) !== count(parse(before)) + 1) return [`${count(tree)} elements, not one more`];
  const host = new URL(first.getAttribute("src"), "https://shop.example/a/b").host;
  if (host !== "shop.example") return [`src leads to ${host}`];
  return Object.fromEntries([...first.attributes].map(({name, value}) => [name, value]));
})"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-browser", action="store_true", help="JustHTML alone")
    given = parser.parse_args(arguments)
    logging.getLogger("reve_middleware").addHandler(logging.NullHandler())
    logging.getLogger("reve_middleware").propagate = False
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    tagged: list[tuple[int, Site, bytes]] = []
    for number in range(given.seed, given.seed + given.count):
        site = random_site(Random(number))
        shell = ShellKind(("asgi", "wsgi")[number % 2])
        after = visit(shell, site)
        shell.close()
        counts["sites"] += 1
        counts["nonces"] += b' nonce="' in after
        wrong += [f"JustHTML, site {number}: {fault}" for fault in faults(site, after)]
        if after != site.page:
            tagged.append((number, site, after))
    counts["tagged"] = len(tagged)
    if not given.no_browser:
        wrong += in_chromium(tagged, counts)
    for fault in wrong:
        print(fault)
    print(", ".join(f"{count} {name}" for name, count in counts.items()), f"- {len(wrong)} faults")
    return 1 if wrong or not tagged else 0


def in_chromium(tagged: list[tuple[int, Site, bytes]], counts: Counter[str]) -> list[str]:
    wrong = []
    with chromium() as browser:
        page = browser.new_page()
        for start in range(0, len(tagged), AT_ONCE):
            some = tagged[start : start + AT_ONCE]
            pairs = [[one.decode("utf-8-sig") for one in (site.page, after)] for _, site, after in some]
            found: list[Any] = page.evaluate(PARSE, pairs)
            counts["parsed by Chromium as well"] += len(found)
            for (number, site, _), attributes in zip(some, found, strict=True):
                said = attributes if isinstance(attributes, list) else wrong_attributes(site, attributes)
                wrong += [f"Chromium, site {number}: {fault}" for fault in said]
    return wrong


if __name__ == "__main__":
    sys.exit(main())
