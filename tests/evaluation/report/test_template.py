"""The environment of the templates."""

import pytest
from jinja2 import UndefinedError

from musicrec.evaluation.report.template import render


def test_values_are_escaped() -> None:
    entry = {"track": "<b>", "hit": True, "note": "3 & more", "path": None}
    text = render("listening.html.j2", title="t", user="u'", legend="✓", lists={"run_name": [entry]}, looks={})
    assert "<h2>run_<wbr>name</h2>" in text
    assert '✓</span> &lt;b&gt; <span class="muted">3 &amp; more</span></li>' in text


def test_a_forgotten_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="legend"):
        render("listening.html.j2", title="t", user="u", lists={})
