"""The notebook in examples/: its code runs on other music, and its stored outputs have the form of these."""

from __future__ import annotations

import ast
import json
import logging
import re
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest

from musicrec.api.library import Library
from musicrec.config import config_dir

NOTEBOOK = config_dir().parent / "examples" / "more_like_this.ipynb"


def cells() -> list[dict[str, Any]]:
    """Returns the code cells: source and outputs."""
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def result_of(source: str, names: dict[str, Any]) -> Any:
    """Returns the value of a cell's last line as a notebook shows it, None if it shows none."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) and not source.rstrip().endswith(";") else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


def stored(cell: dict[str, Any]) -> list[str]:
    """Returns the text of the results in a cell."""
    return ["".join(each["data"]["text/plain"]) for each in cell["outputs"] if each["output_type"] == "execute_result"]


def form(text: str) -> str:
    """Returns a text without what depends on the music: numbers, and names in quotes."""
    return re.sub(r"'[^']*'", "'…'", re.sub(r"-?\d+(\.\d+)?", "0", text))


def test_its_code_runs_on_other_music(music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("musicrec"), "setLevel", lambda level: None)  # that of other tests stays
    (first, *rest), compared = cells(), 0
    names: dict[str, Any] = {}
    exec("".join(first["source"]), names)
    assert names["EMBEDDING"] == "musicnn" and first["outputs"] == []
    names |= {"MUSIC": str(music), "ROOT": str(tmp_path / "workspace"), "EMBEDDING": "mfcc"}
    for cell in rest:
        result, outputs = result_of("".join(cell["source"]), names), stored(cell)
        assert [result is not None] == [bool(outputs)] and len(outputs) <= 1
        if isinstance(result, pd.DataFrame):
            header, *rows = outputs[0].splitlines()
            assert header.split() == list(result.columns) == ["track_id", "score"] and len(rows) == len(result)
        elif isinstance(result, Library):
            assert re.fullmatch(r"Library\(\d+ tracks of .*, musicnn\)", outputs[0])
        elif isinstance(result, tuple):
            assert form(outputs[0]) == "((0, 0), {})" and set(result[1]) == {"broken"}
        elif result is not None:
            assert form(outputs[0]) == form(repr(result))
        compared += result is not None
    assert compared == 7
    assert [tuple(output["data"]) for output in rest[-1]["outputs"]] == [("image/png", "text/plain")]
    found = (tmp_path / "workspace" / "more_like_this.m3u").read_text().splitlines()
    assert len(found) == 8 and all(Path(line).is_file() for line in found)


def test_its_stored_outputs_are_complete_and_clean() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    counts = [cell["execution_count"] for cell in cells()]
    assert counts == list(range(1, len(counts) + 1))
    assert '"output_type": "error"' not in text and "Warning" not in text and "/site-packages/" not in text
    assert len(text) < 200_000
