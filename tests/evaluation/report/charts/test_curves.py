"""Training curves from a run's metrics.csv."""

from pathlib import Path

from musicrec.evaluation.report.charts.curves import read_curves
from musicrec.files import write_text


def test_rows_of_an_epoch_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_text(path, "step,epoch,train/loss,val/loss\n1,0,3,\n1,0,,4\n2,1,2,3.5\n3,2,1,3.9\n")
    curves = read_curves(path)
    assert curves["train/loss"].tolist() == [3, 2, 1] and curves["val/loss"].tolist() == [4, 3.5, 3.9]


def test_the_metric_is_read_if_it_was_measured_while_training(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_text(path, "epoch,train/loss,val/NDCG@5,val/MRR@5,test/NDCG@5\n0,3,.1,.2,\n1,2,.3,.1,\n1,,,,.4\n")
    assert read_curves(path)["val/NDCG@5"].tolist() == [0.1, 0.3]
    write_text(path, "epoch,train/loss,val/NDCG@5\n0,3,\n1,2,.3\n")  # of the finished run alone
    assert list(read_curves(path)) == ["train/loss"]


def test_files_without_curves(tmp_path: Path) -> None:
    for content in ("", "step,epoch\n1,0\n", "step,train/loss\n1,2\n"):
        write_text(tmp_path / "metrics.csv", content)
        assert read_curves(tmp_path / "metrics.csv").empty
    assert read_curves(tmp_path / "absent.csv").empty
