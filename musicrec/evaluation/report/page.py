"""The HTML page that the report and the listening view share: one file, no script, readable on a phone."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

_CSS = """
:root { color-scheme: light; --ink: #1d2329; --muted: #67717c; --line: #e3e6ea; --accent: #0b5cad; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; border-top: 1px solid var(--line); padding-top: 1.2rem;
  overflow-wrap: anywhere; }
p, li { max-width: 44rem; }
a { color: var(--accent); overflow-wrap: anywhere; }
.muted, figcaption { color: var(--muted); font-size: .875rem; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; margin: .6rem 0; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .65rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; }
tr > :first-child { text-align: left; position: sticky; left: 0; background: #fff; box-shadow: 1px 0 0 var(--line); }
td small { display: block; color: var(--muted); font-size: .75rem; line-height: 1.1; }
td.best { font-weight: 700; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 23rem), 1fr)); gap: 1rem 2rem;
  align-items: start; }
.plots.lists { grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); }
figure { margin: .5rem 0; max-width: 30rem; }
figure img { width: 100%; height: auto; display: block; }
audio { display: block; width: 100%; height: 2.2rem; }
ol { padding-left: 1.8rem; }
pre { background: #f6f7f9; padding: .8rem; overflow-x: auto; font-size: .8rem; line-height: 1.4; }
.warning { border-left: 3px solid #d97706; padding-left: .8rem; overflow-wrap: anywhere; }
.run { display: none; }
.run:target { display: block; }
body:has(.run:target) main { display: none; }
/* A long name breaks, or the column that stays would cover the numbers that scroll below it. */
@media (max-width: 40rem) {
  tr > :first-child { white-space: normal; min-width: 8rem; max-width: 9.5rem; }
  td a { overflow-wrap: break-word; }
}
@media print { .run { display: block; break-before: page; } }
"""


def page(title: str, body: str) -> str:
    """Returns a whole page; `title` is plain text, `body` HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
{body}</body>
</html>
"""


def grid(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a table that scrolls sideways on a narrow screen; cells are `<td>` elements."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def breakable(text: str) -> str:
    """Returns a name that may break after its underscores."""
    return escape(text).replace("_", "_<wbr>")


def td(text: Any) -> str:
    """Returns a cell with plain text."""
    return f"<td>{escape(str(text))}</td>"
