"""train.py and evaluate.py on the other splits: cold tracks are candidates, leave_one_out has lists for each split."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.training.run_name import run_name
from musicrec.workspace import Workspace

SMALL = (
    *("data=custom", "embedding=random", "embedding.dim=6", "trainer=cpu", "trainer.max_epochs=1", "logger=none"),
    *("eval.k=2", "eval.top_k=4"),
)


def prepared(tmp_path: Path, split: str, users: int = 12) -> Workspace:
    """Returns a workspace of users with five tracks of nine in training, then a known one and sometimes a new one."""
    rows = [
        (user, f"t{(user + 2 * step) % 9}", f"2019-03-0{step + 1}") for user in range(1, users + 1) for step in range(5)
    ]
    rows += [(user, f"t{(user + 1) % 9}", "2020-02-21") for user in range(1, users + 1)]
    rows += [(user, f"new{user % 2}", "2020-02-22") for user in range(1, users + 1) if user % 3 == 0]
    log = tmp_path / "log.csv"
    pd.DataFrame(rows, columns=["user_id", "track_id", "timestamp"]).to_csv(log, index=False)
    workspace = Workspace(tmp_path / "workspace")
    prepare(DataSource("tiny", plays=log, split=split, start="2019-02-20", test="2020-02-20"), workspace)
    return workspace


def trained(compose: Callable[..., DictConfig], workspace: Workspace, recommender: str) -> tuple[str, pd.DataFrame]:
    cfg = compose(*SMALL, f"recommender={recommender}")
    stages.train(cfg)
    return run_name(cfg), pd.read_parquet(workspace.predictions(run_name(cfg)))


@pytest.mark.parametrize("recommender", ["knn", "shallow", "bert"])
def test_hot_cold(compose: Callable[..., DictConfig], tmp_path: Path, recommender: str) -> None:
    workspace = prepared(tmp_path, "hot_cold")
    name, predictions = trained(compose, workspace, recommender)
    train, cold = (pd.read_parquet(workspace.split(split)) for split in ("train", "cold_test"))
    assert set(predictions.item_id) & set(cold.track_id)
    assert set(predictions.item_id) <= set(train.track_id) | set(cold.track_id)
    for split in ("val", "hot_test", "cold_test"):
        users = pd.read_parquet(workspace.split(split)).user_id.nunique()
        assert len(pd.read_parquet(workspace.metrics(name, split))) == users > 0
    stages.evaluate(compose(*SMALL))
    assert (workspace.root / "comparison.csv").is_file()


@pytest.mark.parametrize("recommender", ["knn", "shallow", "bert"])
def test_leave_one_out(compose: Callable[..., DictConfig], tmp_path: Path, recommender: str) -> None:
    workspace = prepared(tmp_path, "leave_one_out")
    name, predictions = trained(compose, workspace, recommender)
    assert list(predictions.columns) == ["user_id", "item_id", "rank", "score", "split"]
    train, val = (pd.read_parquet(workspace.split(split)) for split in ("train", "val"))
    given = {"val": train, "test": pd.concat([train, val])}
    for split, seen in given.items():
        lists = predictions[predictions.split == split]
        assert sorted(lists.user_id.unique()) == list(range(1, 13))
        known = set(zip(seen.user_id, seen.track_id, strict=True))
        assert not known & set(zip(lists.user_id, lists.item_id, strict=True))
        assert set(lists.item_id) <= set(train.track_id)
        assert len(pd.read_parquet(workspace.metrics(name, split))) == 12
    stages.evaluate(compose(*SMALL))
    assert (workspace.root / "comparison.csv").is_file()


@pytest.mark.parametrize("recommender", ["knn", "bert"])
def test_one_listener(compose: Callable[..., DictConfig], tmp_path: Path, recommender: str) -> None:
    workspace = prepared(tmp_path, "hot_cold", users=1)
    name, predictions = trained(compose, workspace, recommender)
    assert len(predictions) == 1
    assert pd.read_parquet(workspace.metrics(name, "cold_test"))["HitRate@2"].tolist() == [1.0]
    stages.evaluate(compose(*SMALL))
    assert (workspace.root / "comparison.csv").is_file()
