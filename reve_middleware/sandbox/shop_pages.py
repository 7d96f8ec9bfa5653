"""The shop's pages. Everything that is not a constant of this file is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path


@dataclass(frozen=True)
class Person:
    """Somebody who can log in."""

    id: str
    name: str
    email: str
    phone: str
    plan: str


@dataclass(frozen=True)
class Good:
    """Something to buy; `picture` is the inside of an SVG of 120 by 90."""

    name: str
    about: str
    price: str
    picture: str


GOODS = (
    Good(
        "Country loaf",
        "Rye and wheat, baked at five",
        "£3.80",
        '<path class="a" d="M18 60c0-24 20-36 42-36s42 12 42 36c0 8-6 12-14 12H32c-8 0-14-4-14-12z"/>'
        '<path class="l" d="M40 36l8 14M58 32l8 14M76 36l8 14"/>',
    ),
    Good(
        "Vine tomatoes",
        "A pound, still on the stalk",
        "£2.40",
        '<path class="l" d="M24 24c24-8 52-4 74 6M44 22l-2 16M76 24l2 14"/>'
        '<circle class="b" cx="42" cy="54" r="20"/><circle class="b" cx="80" cy="54" r="20"/>'
        '<path class="c" d="M42 34l5 6 8 0-8 4-5-3-5 3-8-4 8 0zM80 34l5 6 8 0-8 4-5-3-5 3-8-4 8 0z"/>',
    ),
    Good(
        "Ground coffee",
        "Dark roast, ground while you wait",
        "£6.50",
        '<path class="l" d="M50 20c-4-5 4-7 0-12M64 20c-4-5 4-7 0-12"/>'
        '<path class="d" d="M32 30h52v24c0 14-10 22-26 22s-26-8-26-22z"/>'
        '<path class="l" d="M84 36h6c14 0 14 22 0 22h-7"/>',
    ),
    Good(
        "Heather honey",
        "From the hives behind the church",
        "£5.20",
        '<rect class="e" x="38" y="30" width="44" height="46" rx="9"/>'
        '<rect class="d" x="36" y="18" width="48" height="13" rx="4"/>'
        '<rect class="p" x="38" y="44" width="44" height="18"/>'
        '<path class="l" d="M50 53h20"/>',
    ),
)


class Page:
    """Builds the pages; see `Shop` for the two settings."""

    def __init__(self, *, head_html: str, note_html: str) -> None:
        self.style, self.theme = (
            (Path(__file__).parent / name).read_text("utf-8") for name in ("shop.css", "theme.js")
        )
        self._head_html = head_html
        self._note_html = note_html

    def home(self, person: Person | None) -> str:
        note = f'<aside class="note">{self._note_html}</aside>' if self._note_html else ""
        hello = f"<p>Good to see you again, {escape(person.name)}.</p>" if person else ""
        goods = "".join(_good(good) for good in GOODS)
        return self._whole(
            person,
            "Corner Shop",
            f'{note}<h1>Fresh this morning</h1>{hello}<ul class="goods">{goods}</ul>',
        )

    def login(self, person: Person | None, people: Sequence[Person]) -> str:
        buttons = "".join(
            f'<button name="person" value="{escape(each.id)}">{_initials(each)}'
            f"<span><strong>{escape(each.name)}</strong><br>"
            f"{escape(each.email)}, {escape(each.plan)}</span></button>"
            for each in people
        )
        return self._whole(
            person,
            "Log in",
            "<h1>Log in</h1><p>Choose who you are. There is no password.</p>"
            f'<form class="people" method="post" action="/login">{buttons}</form>',
        )

    def account(self, person: Person, *, saved: bool = False, wrong: str = "") -> str:
        message = '<p class="good" role="status">Saved.</p>' if saved else ""
        if wrong:
            message = f'<p class="bad" role="alert">{escape(wrong)}</p>'
        details = "".join(
            f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>"
            for name, value in (("Name", person.name), ("Email", person.email), ("Plan", person.plan))
        )
        return self._whole(
            person,
            "Your account",
            f'<h1>Your account</h1>{message}<dl class="card">{details}</dl>'
            '<form class="card" method="post" action="/account"><label for="phone">Phone number</label>'
            '<input id="phone" name="phone" type="tel" required maxlength="40" '
            f'value="{escape(person.phone)}">'
            '<button class="main">Save</button></form>',
        )

    def plain(self, person: Person | None, title: str, text: str) -> str:
        return self._whole(
            person,
            title,
            f'<h1>{escape(title)}</h1><p>{escape(text)}</p><p><a href="/">Back to the shop</a></p>',
        )

    def _whole(self, person: Person | None, title: str, main: str) -> str:
        if person:
            visitor = (
                f'<a href="/account">{escape(person.name)}</a>'
                '<form method="post" action="/logout"><button>Log out</button></form>'
            )
        else:
            visitor = '<a href="/login">Log in</a>'
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="{ICON}">
<link rel="stylesheet" href="/shop.css">
<script src="/theme.js"></script>
{self._head_html}
</head>
<body>
<header><a class="brand" href="/">Corner Shop</a><nav aria-label="Visitor">{visitor}</nav></header>
<main>{main}</main>
<footer><span>Bread, vegetables, coffee and honey. Open every day from seven.</span>{COLOURS}</footer>
</body>
</html>
"""


COLOURS = (
    '<fieldset><legend class="unseen">Colours</legend>'
    '<label><input type="radio" name="theme" value="" checked><span>Auto</span></label>'
    '<label><input type="radio" name="theme" value="light"><span>Light</span></label>'
    '<label><input type="radio" name="theme" value="dark"><span>Dark</span></label></fieldset>'
)
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath fill='%23a8461f' "
    "d='M2 2h12l1 4a2 2 0 0 1-4 0 2 2 0 0 1-4 0 2 2 0 0 1-4 0 1 1 0 0 1-2 0zM3 9h10v5H3z'/%3E%3C/svg%3E"
)


def _good(good: Good) -> str:
    return (
        f'<li class="card"><svg viewBox="0 0 120 90" aria-hidden="true">{good.picture}</svg>'
        f"<h2>{escape(good.name)}</h2><p>{escape(good.about)}</p><strong>{escape(good.price)}</strong></li>"
    )


def _initials(person: Person) -> str:
    letters = "".join(word[0] for word in person.name.split())
    return f'<span class="initials" aria-hidden="true">{escape(letters)}</span>'
