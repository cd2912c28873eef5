"""Renders the HTML pages from the Jinja templates beside this file; all values are escaped."""

from __future__ import annotations

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

# Control characters that HTML forbids, halves of characters, and those that turn the direction of the text after them.
_UNSEEN = re.compile(
    r"[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


def render(name: str, **values: object) -> str:
    """Returns a page.

    Args:
        name: file name of a template, e.g. `report.html.j2`.
        values: what the template names. Text is escaped there, so it must not hold markup; characters that no reader
            sees but that would spoil the page are left out.
    """
    return _environment().get_template(name).render(**values)


def visible(text: str) -> str:
    """Returns a text without the characters that no reader sees but that would spoil a page or a plot."""
    return _UNSEEN.sub("", text)


@cache
def _environment() -> Environment:
    """Returns the environment of all templates: an unknown name in one is an error."""
    return Environment(
        loader=PackageLoader("musicrec.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_written,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _written(value: object) -> object:
    r"""Returns a value as it may stand in a page: numbers without needless digits.

    >>> _written("a\u202eb\x00"), _written(20.0)
    ('ab', '20')
    """
    if isinstance(value, float):
        return f"{value:g}"
    return visible(value) if type(value) is str else value
