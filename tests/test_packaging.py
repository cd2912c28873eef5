"""The wheel carries the configuration and the weights, and works outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from musicrec.config import config_dir


def test_the_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    root = config_dir().parent
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(root)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "musicrec/conf/config.yaml",
        "musicrec/embeddings/weights/musicnn_msd.safetensors",
        "musicrec/embeddings/weights/musicnn_mtt.safetensors",
        "musicrec/embeddings/weights/LICENSE.musicnn",
    } <= set(names)
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
