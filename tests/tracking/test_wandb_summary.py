"""The summary in W&B, offline: one run per sweep."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from musicrec.evaluation.comparison import Comparison, compare
from musicrec.evaluation.report.plots.draw import Plot
from musicrec.tracking.wandb_runs import WandbRun, start_run
from musicrec.tracking.wandb_summary import log_comparison
from tests.evaluation.made_up import MadeUp


class Offline:
    """Stands for W&B: collects what is logged."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str | None], dict[str, Any]] = {}

    def start(self, run: str, job_type: str, tags: list[str], group: str | None = None) -> Any:
        assert job_type == "evaluate" and tags == ["comparison"]
        logged: dict[str, Any] = {}
        self.runs[run, group] = logged
        logger: Any = type("Logger", (), {})()
        logger.experiment = type("Experiment", (), {"log": staticmethod(logged.update)})()
        logger.safely = lambda call, *args: call(*args)
        return logger


@pytest.fixture
def compared(tmp_path: Path) -> Comparison:
    made_up = MadeUp(tmp_path).data()
    made_up.run("knn", "musicnn", 1, sweep="grid")
    made_up.run("knn", "random", 4)
    made_up.foreign("als", made_up.lists(1))
    return compare(made_up.workspace, 10)


def test_one_run_per_sweep(compared: Comparison, tmp_path: Path) -> None:
    plots = [Plot("size", tmp_path, "", "caption")]
    for plot in plots:
        Image.new("RGB", (4, 4)).save(plot.png)
    wandb = Offline()
    assert log_comparison(compared, plots, wandb.start) == 2
    assert set(wandb.runs) == {("comparison", None), ("comparison_grid", "grid")}
    rows = wandb.runs["comparison_grid", "grid"]["comparison"]
    assert rows.get_column("run") == ["knn_musicnn_s0"]
    assert set(wandb.runs["comparison", None]["comparison"].get_column("run")) == {"als", "knn_random_s0"}
    assert set(wandb.runs["comparison", None]) == {"comparison", "cosine", "plots/size"}


def test_without_wandb(compared: Comparison) -> None:
    assert log_comparison(compared, [], lambda **_: None) == 0


@pytest.mark.slow
def test_offline_files(compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real W&B, without a network: the table lies in the offline run's folder."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    start = cast(Callable[..., WandbRun | None], partial(start_run, save_dir=str(tmp_path)))
    assert log_comparison(compared, [], start) == 2
    tables = list(tmp_path.glob("wandb/offline-run-*/files/media/table/comparison_*.json"))
    names = sorted(row[0] for path in tables for row in json.loads(path.read_text())["data"])
    assert names == ["als", "knn_musicnn_s0", "knn_random_s0"]
