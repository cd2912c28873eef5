"""The floors of the package: no import circle, no import upwards, imports inside functions only in listed files."""

from __future__ import annotations

import ast
import fnmatch
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from musicrec.config import config_dir

ROOT = config_dir().parent
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Returns what import-linter says about the sources in a folder, by the contracts in its pyproject.toml."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the sources, to break."""
    shutil.copytree(ROOT / "musicrec", tmp_path / "musicrec", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_no_import_goes_up_and_none_goes_round() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout
    assert "2 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("file", "planted", "broken"),
    [
        (
            "files.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import musicrec.training.train\n",
            "musicrec.files -> musicrec.training.train",
        ),
        (
            "evaluation/metrics.py",
            "def f():\n    from musicrec.recommenders.knn import KNN\n",
            "musicrec.evaluation.metrics -> musicrec.recommenders.knn",
        ),
        ("training/run_name.py", "import musicrec.training.train\n", "No import circle BROKEN"),
        ("new_room.py", "", "new_room"),
    ],
)
def test_a_planted_import_is_found(copied: Path, file: str, planted: str, broken: str) -> None:
    path = copied / "musicrec" / file
    path.write_text((path.read_text() if path.exists() else "") + "\n\n" + planted)
    result = lint(copied)
    assert result.returncode == 1
    assert broken in result.stdout


def inner_imports(path: Path) -> list[int]:
    """Returns the lines of the imports inside functions that are not marked as a measured exception (noqa)."""
    text = path.read_text()
    lines = text.splitlines()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    imports = {
        node.lineno
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    return sorted(line for line in imports if "noqa: PLC0415" not in lines[line - 1])


def test_imports_inside_functions_occur_only_in_the_files_that_pyproject_lists() -> None:
    ignores = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]["per-file-ignores"]
    allowed = [pattern for pattern, rules in ignores.items() if "PLC0415" in rules]
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "musicrec").rglob("*.py"))
        if not any(fnmatch.fnmatch(str(path.relative_to(ROOT)), pattern) for pattern in allowed)
        for line in inner_imports(path)
    }
    assert not found


def test_an_import_inside_a_function_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "import os\n\n\nclass A:\n    def f(self):\n        if self:\n            import json\n"
        "        import csv  # noqa: PLC0415 (slow)\n"
    )
    assert inner_imports(path) == [7]
