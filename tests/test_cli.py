"""The scripts as a user types them: mistakes end in one clear line and exit status 1."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from musicrec import __version__, cli
from musicrec.config import config_dir

ROOT = config_dir().parent


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", ["prepare", "extract", "train", "evaluate"])
def test_help_tells_the_stages_and_groups(name: str) -> None:
    shown = script(name, "--help").stdout
    assert "python evaluate.py" in shown
    groups = dict(line.strip().split(": ", 1) for line in shown.splitlines() if ": " in line)
    assert {"bert", "bert_paper", "knn", "shallow", "shallow_paper_text"} <= set(groups["recommender"].split(", "))
    assert {"musicnn", "musicnn_first", "music2vec_24khz", "random_learnt"} <= set(groups["embedding"].split(", "))
    assert groups["debug"] == "default, fast_dev_run, limit, overfit, profiler"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "recommender=nonsense"), "Could not find 'recommender/nonsense'"),
        (("train", "recommender.nonsense=1"), "Key 'nonsense' is not in struct"),
        (("prepare", "data=custom"), "musicrec prepare: data=custom needs a listening log"),
        (("extract", "data=custom"), "musicrec extract: data=custom needs a folder of audio"),
        (("train", "data=custom"), "is missing: make it with: python prepare.py"),
        (
            ("prepare", "data=custom", "data.plays=Demos (old), 1991/R&B.csv"),
            "Demos (old), 1991/R&B.csv does not exist",
        ),
        (("prepare", "hydra.job.name=a(b"), "write it as: 'hydra.job.name=\"a(b\"'"),
        (("evaluate", "data=custom"), "is missing: make it with python prepare.py"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = script(*arguments, f"paths.root={tmp_path}/workspace")
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_failing_job_does_not_stop_its_sweep(tiny_workspace: Path) -> None:
    result = script(
        "train",
        "-m",
        "recommender=knn",
        "embedding=musicnn,random",
        "data=custom",
        "logger=none",
        f"paths.root={tiny_workspace}",
        f"hydra.sweep.dir={tiny_workspace}/sweep",
    )
    assert result.returncode == 1
    assert "train failed: " in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert len(list((tiny_workspace / "preds").glob("knn_random_*.pqt"))) == 1


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str | int | None]:
    """Returns a function that runs the installed command in a folder of its own and returns its exit status."""
    monkeypatch.chdir(tmp_path)
    for name in ("MUSICREC_COMMAND", "MUSICREC_SUFFIX"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def run(*words: str) -> str | int | None:
        monkeypatch.setattr(sys, "argv", ["/usr/bin/musicrec", *words])
        try:
            cli.console()
        except SystemExit as left:
            return left.code
        return 0

    return run


Console = Callable[..., str | int | None]


def test_the_command_tells_its_stages_and_version(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    assert console("--help") == 0
    shown = capsys.readouterr().out
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("  musicrec ")][:5] == [
        *("prepare", "extract", "train", "evaluate", "status"),
    ]
    assert console("--version") == 0
    assert capsys.readouterr().out == f"musicrec {__version__}\n"
    assert str(console("learn", "seed=1")).startswith("musicrec: there is no stage 'learn'\nusage: musicrec STAGE")
    assert console() == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "recommender=bert", "--cfg", "job"), ["hydra.job.name=train"]),
        (("status",), ["hydra.job.name=status", "status=true"]),
        (("status", "watch"), ["hydra.job.name=status", "status=watch"]),
        (("status", "data=mine"), ["hydra.job.name=status", "status=true", "data=mine"]),
    ],
)
def test_the_command_passes_its_words_on(
    console: Console, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: list[str]
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(cli, "_run_stage", lambda name: seen.append(sys.argv[1:]))
    assert console(*words) == 0
    assert sorted(seen[0]) == sorted(
        [*expected, *(word for word in words[1:] if word != "watch" and word not in expected)]
    )


def test_a_conf_folder_beside_is_searched(
    console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my conf (1)"
    (folder / "conf" / "local").mkdir(parents=True)
    (folder / "conf" / "local" / "default.yaml").write_text("# @package _global_\nseed: 77\n")
    (folder / "conf" / "data").mkdir()
    (folder / "conf" / "data" / "mine.yaml").write_text("defaults: [demo]\nname: mine\n")
    monkeypatch.chdir(folder)
    assert console("train", "data=mine", "trainer=ddp", "--cfg", "job") == 0
    shown = capsys.readouterr().out
    for line in ("seed: 77", "  name: mine", "  devices: 2"):
        assert line in shown.splitlines()


def test_help_and_messages_say_the_command(
    console: Console, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert console("train", "--help") == 0
    shown = capsys.readouterr().out
    assert "  musicrec train    recommender=bert" in shown
    assert "python train.py" not in shown
    left = str(console("train", "data=custom", f"paths.root={tmp_path}/workspace"))
    assert "is missing: make it with: musicrec prepare data=custom" in left


def test_completion_knows_stages_and_options(
    console: Console, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for line in ("musicrec ", "musicrec train recommender=kn", "musicrec train embedding.na"):
        monkeypatch.setenv("COMP_LINE", line)
        assert console("-sc", "query=bash") == 0
        found[line] = capsys.readouterr().out.split()
    assert found["musicrec "] == ["prepare", "extract", "train", "evaluate", "status"]
    assert found["musicrec train recommender=kn"] == ["recommender=knn"]
    assert found["musicrec train embedding.na"] == ["embedding.name="]
    assert console("-sc", "install=bash") == 0
    assert capsys.readouterr().out.rstrip().endswith("hydra_bash_completion musicrec")


@pytest.mark.parametrize("swallowed", [False, True])
def test_ctrl_c_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], swallowed: bool
) -> None:
    def main() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            if swallowed:  # as Lightning does
                sys.exit(1)
            raise

    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1"])
    with pytest.raises(SystemExit) as left:
        cli.start(main)
    assert left.value.code == 130
    assert capsys.readouterr().err == "\nmusicrec: interrupted; run the same command again to resume\n"


def test_other_exits_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=1"])
    with pytest.raises(SystemExit, match="musicrec train: no"):
        cli.start(lambda: sys.exit("musicrec train: no"))
