"""Reads an HTML page as strictly as a validator: every element closed where it was opened, nothing from elsewhere."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "!doctype", "link", "input", "hr"}
# What these may not hold, among others.
BLOCKS = {"p", "div", "table", "ul", "ol", "figure", "section", "article", "h1", "h2", "h3", "pre", "nav", "main"}
DIRECTLY_IN = {"tr": {"thead", "tbody", "tfoot", "table"}, "td": {"tr"}, "th": {"tr"}, "li": {"ul", "ol"}}


class Page(HTMLParser):
    """Collects what a test asks about, and asserts that the elements are nested as HTML demands.

    Args:
        text: of the page.
    """

    def __init__(self, text: str):
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.headings: list[int] = []
        self.classes: set[str] = set()
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        parent = self.stack[-1] if self.stack else ""
        assert tag not in BLOCKS or not {"p", "span", "h1", "h2", "h3"} & set(self.stack), (tag, self.stack)
        assert parent in DIRECTLY_IN.get(tag, {parent}), (tag, self.stack)
        assert tag != "a" or "a" not in self.stack, self.stack
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)) and not [name for name in names if name.startswith("on")], attrs
        values = dict(attrs)
        self.ids += [value for value in (values.get("id"),) if value]
        self.addresses += [values[name] or "" for name in ("href", "src", "xlink:href", "data") if name in values]
        self.classes |= set((values.get("class") or "").split())
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.stack += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag
