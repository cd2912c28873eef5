"""Per-user metrics of a run, split by split, in files."""

from pathlib import Path

import numpy as np
import pandas as pd

from musicrec.evaluation.metrics import metric_columns
from musicrec.evaluation.scoring import score_run, split_rows
from musicrec.files import parquet_metadata
from musicrec.workspace import Workspace

GOOD = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [4, 2, 4], "rank": [1, 2, 1]})


def truth_frame(pairs: list[tuple[int, int]]) -> pd.DataFrame:
    """Returns (user, track) pairs as a frame."""
    return pd.DataFrame(pairs, columns=["user_id", "track_id"])


def test_score_run_writes_metrics_of_each_split(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    truth = {"val": truth_frame([(1, 2)]), "test": truth_frame([(2, 4), (3, 5)]), "cold_test": truth_frame([])}
    scores = score_run(workspace, "knn_x", truth, GOOD, 2, {"size": 7})
    assert list(scores) == ["val", "test"]
    stored = pd.read_parquet(workspace.metrics("knn_x", "test"))
    assert list(stored.columns) == ["user_id", *metric_columns(2)] and stored["user_id"].tolist() == [2, 3]
    assert parquet_metadata(workspace.metrics("knn_x", "test")) == {"size": 7, "k": 2}
    table = pd.read_csv(workspace.metrics("knn_x", "test", "csv"), index_col=0)
    assert table.index.tolist() == ["mean", "conf"] and table.loc["mean", "NDCG@2"] == 0.5
    val = pd.read_csv(workspace.metrics("knn_x", "val", "csv"), index_col=0)
    assert np.isnan(val["NDCG@2"].loc["conf"])  # one user has no interval


def test_split_column() -> None:
    frame = pd.concat([GOOD.assign(split="val"), GOOD.assign(item_id=[5, 6, 7], split="test")])
    rows = split_rows(frame, "test")
    assert rows is not None and rows["item_id"].tolist() == [5, 6, 7]
    assert split_rows(frame, "cold_test") is None
    assert split_rows(GOOD, "cold_test") is GOOD
