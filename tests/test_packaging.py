"""The wheel holds the whole package, its configuration and weights, and works outside the checkout."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import musicrec
from musicrec.config import config_dir

ROOT = config_dir().parent


def test_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.name.startswith(f"musicrec-{musicrec.__version__}-")
    assert {
        "musicrec/py.typed",
        "musicrec/conf/config.yaml",
        "musicrec/embeddings/weights/musicnn_msd.safetensors",
        "musicrec/embeddings/weights/LICENSE.musicnn",
    } <= names
    # Weights and page templates are package data: every file of the package has to be there, not only its modules.
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "musicrec").rglob("*") if path.is_file()}
    assert {file for file in files if "__pycache__" not in file} - names == set()
    assert not [
        name for name in names if "tests" in name or "conf/local" in name or name.endswith((".ogg", ".mp3", ".wav"))
    ]

    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import musicrec, sys; print(musicrec.__file__); from musicrec.cli import console; console()"
    result = subprocess.run(
        [sys.executable, "-c", code, "train", "recommender=bert", "--cfg", "job", "--package", "recommender"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(tmp_path / "site"))
    assert "name: bert" in result.stdout


def test_changelog_has_the_version() -> None:
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[0] == musicrec.__version__
