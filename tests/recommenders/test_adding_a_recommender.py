"""docs/adding-a-recommender.md: its class, YAML and test work as they stand there, through train and evaluate."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.config import config_dir
from musicrec.files import parquet_metadata
from musicrec.training.run_name import run_name

NAME = "musicrec.recommenders.trending"


def blocks() -> dict[str, str]:
    """Returns the blocks of code in the document by language."""
    text = (config_dir().parent / "docs" / "adding-a-recommender.md").read_text(encoding="utf-8")
    return dict(re.findall(r"```([\w ]+)\n(.*?)```", text, flags=re.DOTALL))


@pytest.fixture
def trending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Returns the module of the document; its YAML is on Hydra's search path in tmp_path/conf."""
    module = ModuleType(NAME)
    exec(blocks()["python"], vars(module))
    monkeypatch.setitem(sys.modules, NAME, module)
    option = tmp_path / "conf" / "recommender" / "trending.yaml"
    option.parent.mkdir(parents=True)
    option.write_text(blocks()["yaml"])
    return module


@pytest.fixture
def trained(
    compose: Callable[..., DictConfig], tiny_workspace: Path, tmp_path: Path, trending: ModuleType
) -> tuple[Path, str]:
    """Returns the workspace and the name of a run of trending, trained and evaluated."""
    cfg = compose(
        f"hydra.searchpath=[file://{tmp_path}/conf]",
        *(
            "recommender=trending",
            "recommender.days=2",
            "data=custom",
            "embedding=random",
            "embedding.dim=6",
            "trainer=cpu",
        ),
        *("logger=csv", "eval.k=2", "eval.top_k=3"),
    )
    stages.train(cfg)
    stages.evaluate(cfg)
    return tiny_workspace, run_name(cfg)


def test_the_lists_are_the_tracks_that_most_users_discovered_of_late(trained: tuple[Path, str]) -> None:
    root, run = trained
    predictions = pd.read_parquet(root / "preds" / f"{run}.pqt")
    train = pd.read_parquet(root / "data" / "train.pqt")
    late = train[train.timestamp > train.timestamp.max() - pd.Timedelta(days=2)]
    users = late.groupby("track_id").user_id.nunique().reindex(sorted(set(train.track_id)), fill_value=0)
    for user, listed in predictions.groupby("user_id"):
        unseen = users.drop(train.track_id[train.user_id == user]).reset_index()
        best = unseen.sort_values(["user_id", "track_id"], ascending=[False, True])[:3]
        assert listed.item_id.tolist() == best.track_id.tolist()
        assert listed.score.tolist() == best.user_id.tolist()
    metadata = parquet_metadata(root / "preds" / f"{run}.pqt")
    assert (metadata["recommender"], metadata["table"], metadata["title"]) == ("trending", "trending", "Trending")
    assert run.startswith("trending_")
    assert not list((root / "model_embeddings").glob("*")) and not list((root / "checkpoints").rglob("*.ckpt"))


def test_it_is_evaluated(trained: tuple[Path, str]) -> None:
    root, run = trained
    assert run in (root / "comparison.csv").read_text()


def test_it_has_a_table_of_its_own(trained: tuple[Path, str]) -> None:
    assert len(pd.read_csv(trained[0] / "trending.csv")) == 1


def test_the_test_of_the_document_passes(trending: ModuleType, tmp_path: Path) -> None:
    names = dict(vars(trending))
    exec(blocks()["python test"], names)
    names["test_trending"](tmp_path)


def test_a_recommender_chooses_its_optimizer_unless_the_command_line_does(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    option = tmp_path / "conf" / "recommender" / "own.yaml"
    option.parent.mkdir(parents=True)
    option.write_text(blocks()["yaml defaults"] + "name: own\nlr: 0.1\n")
    given = (f"hydra.searchpath=[file://{tmp_path}/conf]", "recommender=own")
    own = compose(*given).optimizer
    assert (own._target_, own.lr) == ("torch.optim.NAdam", 0.1)
    assert compose(*given, "optimizer=adamw").optimizer._target_ == "torch.optim.AdamW"
