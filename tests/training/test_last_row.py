"""A run that is killed between a checkpoint and the line that Lightning logs after it lacks no line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.training.checkpoints import AtomicCheckpoints
from tests.training.test_preemption import SETTINGS


@pytest.mark.parametrize(
    ("recommender", "which", "epoch"), [("shallow", "last", 1), ("shallow", "best", 2), ("bert", "last", 3)]
)
def test_metrics_csv_is_that_of_an_undisturbed_run(
    compose: Callable[..., DictConfig],
    tiny_workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    recommender: str,
    which: str,
    epoch: int,
) -> None:
    settings = [*SETTINGS, f"recommender={recommender}", "recommender.batch_size=2", "trainer.max_epochs=4"]
    settings += ["callbacks.last_checkpoint.seconds=0"]
    stages.train(compose(*settings, "run_name=undisturbed"))

    save = AtomicCheckpoints.save_checkpoint

    def killed(self: Any, checkpoint: dict[str, Any], path: Any, *more: Any, **options: Any) -> None:
        save(self, checkpoint, path, *more, **options)
        if which in Path(path).name and checkpoint["epoch"] + 1 >= epoch:
            raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpoints, "save_checkpoint", killed)
        with pytest.raises(SystemExit):
            stages.train(compose(*settings, "run_name=again"))
    paths = [tiny_workspace / "runs" / run / "metrics.csv" for run in ("again", "undisturbed")]
    assert len(pd.read_csv(paths[0])["train/loss"].dropna() if epoch > 1 else []) == epoch - 1
    stages.train(compose(*settings, "run_name=again"))
    again, undisturbed = map(pd.read_csv, paths)
    pd.testing.assert_frame_equal(again, undisturbed, check_like=True)
