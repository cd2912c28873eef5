"""Renders the HTML pages from the Jinja templates beside this file; all values are escaped."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(name: str, **values: object) -> str:
    """Returns a page.

    Args:
        name: file name of a template, e.g. `report.html.j2`.
        values: what the template names. Text is escaped there, so it must not hold markup.
    """
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    """Returns the environment of all templates: an unknown name in one is an error."""
    return Environment(
        loader=PackageLoader("musicrec.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
