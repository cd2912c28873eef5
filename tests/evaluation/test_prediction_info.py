"""Metadata of predictions files, of this version and of earlier ones."""

import json

import pytest

from musicrec.errors import MusicrecError
from musicrec.evaluation.prediction_info import PredictionInfo

INFO = PredictionInfo(
    run="knn_x_s0_0123abcd",
    recommender="knn",
    table="cosine",
    title="KNN",
    embedding="x",
    size=7,
    seed=0,
    inputs={"splits": {"train": "12"}, "embedding": "34"},
    settings={"seed": 0, "recommender": {"name": "knn"}},
    tracks=40,
    tracks_hash="ab",
)


def test_json_and_back() -> None:
    content = INFO.to_json()
    assert content["size"] == 7 and "sweep" not in content
    assert PredictionInfo.from_json(json.loads(json.dumps(content))) == INFO
    assert INFO.splits == {"train": "12"} and INFO.stamp == {"tracks": 40, "tracks_hash": "ab"}


def test_files_of_earlier_versions_and_other_programs() -> None:
    old = {"run": "bert_x", "recommender": "bert", "embedding": None, "table": "bert", "sweep": None, "later": 1}
    info = PredictionInfo.from_json(old)
    assert info == PredictionInfo(run="bert_x", recommender="bert", table="bert")
    assert info is not None and info.splits is None and info.stamp == {} and info.title is None
    assert PredictionInfo.from_json({}) is None
    assert PredictionInfo.from_json({"epochs": 3}) is None


@pytest.mark.parametrize("table", ["../up", "a/b", "", ".hidden", "comparison", "trackid_sorted"])
def test_tables_that_no_file_can_be_called(table: str) -> None:
    with pytest.raises(MusicrecError, match="comparison table cannot be called"):
        PredictionInfo.from_json({"run": "x", "table": table})
