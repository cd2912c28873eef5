"""MetricsCsv: a run's file of metrics belongs to one process, and a resumed run completes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicrec.tracking.metrics_csv import MetricsCsv


def test_what_the_guard_raises_keeps_the_file_as_it_is(tmp_path: Path) -> None:
    logger = MetricsCsv(str(tmp_path), "mine")
    logger.log_metrics({"val/loss": 1.0}, 5)
    logger.save()
    before = (tmp_path / "mine" / "metrics.csv").read_text()

    def taken() -> None:
        raise RuntimeError("another process owns the run")

    logger.guard(taken)
    logger.log_metrics({"val/loss": 2.0}, 11)
    with pytest.raises(RuntimeError, match="another process"):
        logger.save()
    assert (tmp_path / "mine" / "metrics.csv").read_text() == before == "step,epoch,val/loss\n5,,1.0\n"


def test_a_row_is_completed_and_later_ones_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "mine" / "metrics.csv"
    path.parent.mkdir()
    path.write_text("step,epoch,val/loss\n5,0,1.5\n11,1,2.5\n17,2,3.5\n")
    MetricsCsv(str(tmp_path), "mine").complete(11, {"epoch": 1.0, "train/loss": 0.25})
    assert path.read_text() == "step,epoch,val/loss,train/loss\n5,0,1.5,\n11,1.0,2.5,0.25\n"
