"""Looks at a page as a person would: contrast of all its text, width, what can be reached by keyboard.

assert faint(page) == []
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

LEAST = 4.5
"""Contrast of text and what it stands on (WCAG 2.2, 1.4.3)."""

# Every visible text with the contrast (WCAG 2.2, "relative luminance" and "contrast ratio") to its ground, also in
# shadow trees, and also placeholders, values of inputs and what the style sheet writes.
TEXTS = """() => {
  const found = [];
  const parse = (colour) => {
    const parts = colour.match(/^rgba?\\(([\\d.]+),? ([\\d.]+),? ([\\d.]+)(?:,? ?\\/? ?([\\d.]+))?\\)$/);
    if (!parts) throw new Error(`a colour of another kind: ${colour}`);
    return [...parts.slice(1, 4).map(Number), parts[4] === undefined ? 1 : Number(parts[4])];
  };
  const over = (top, under) => [0, 1, 2].map((at) => top[at] * top[3] + under[at] * (1 - top[3])).concat(1);
  const parent = (element) => element.parentElement || (element.getRootNode().host ?? null);
  const ground = (element) => {
    if (element === null) return parse(getComputedStyle(document.body).backgroundColor);
    const style = getComputedStyle(element);
    if (style.backgroundImage !== "none") throw new Error("text on a picture");
    const own = parse(style.backgroundColor);
    return own[3] === 1 ? own : over(own, ground(parent(element)));
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  };
  const add = (element, text, colour) => {
    const under = ground(element);
    found.push([text.trim().slice(0, 60), contrast(over(parse(colour), under), under)]);
  };
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && !element.closest(".unseen, .skip");
  const walk = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) walk(element.shadowRoot);
      if (element.closest("svg, head, script, noscript") || !seen(element)) continue;
      const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join("");
      if (text.trim()) add(element, text, getComputedStyle(element).color);
      for (const pseudo of ["::before", "::after"]) {
        const style = getComputedStyle(element, pseudo);
        if (/\\w/.test(style.content) && style.content !== "none") add(element, style.content, style.color);
      }
      if (element.placeholder) add(element, element.placeholder, getComputedStyle(element, "::placeholder").color);
      if (element.matches("input") && element.value) add(element, element.value, getComputedStyle(element).color);
    }
  };
  walk(document);
  return found;
}"""

# What has the focus, through shadow trees: its name, and whether one sees that it has it.
FOCUSED = """() => {
  let element = document.activeElement;
  while (element.shadowRoot && element.shadowRoot.activeElement) element = element.shadowRoot.activeElement;
  const label = element.closest("label");
  const name = element.getAttribute("aria-label") || (label || element).innerText || element.id;
  const shown = element.matches("[type=radio]") ? element.nextElementSibling : element;
  const style = getComputedStyle(shown);
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [element.localName, name.trim().split("\\n")[0], ring];
}"""


def texts(page: "Page") -> dict[str, float]:
    """Each text on the page with its contrast; the least where it stands more than once."""
    found: dict[str, float] = {}
    for text, contrast in page.evaluate(TEXTS):
        found[text] = min(contrast, found.get(text, contrast))
    return found


def faint(page: "Page") -> list[tuple[str, float]]:
    """The texts that are hard to read."""
    return [(text, round(contrast, 2)) for text, contrast in texts(page).items() if contrast < LEAST]


def overflow(page: "Page") -> int:
    """Pixels by which the page is wider than its window."""
    found: int = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


def focused(page: "Page") -> tuple[str, str, bool]:
    """What has the focus: its element, its name, and whether it shows."""
    found: Any = page.evaluate(FOCUSED)
    return tuple(found)
