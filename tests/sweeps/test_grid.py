"""Grids over recommenders that do not have the same keys, and over experiments with grids of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import open_dict, read_write

from musicrec.config import config_dir
from musicrec.errors import MusicrecError
from musicrec.overrides import combined_experiments
from musicrec.sweeps.grid import FittingGrid, expand, fitting_jobs
from musicrec.sweeps.report import plan


def split(*words: str, batch: int | None = None) -> tuple[list[list[list[str]]], str, str]:
    """Returns the batches of a sweep, what is said about keys left out, and the plan."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("config", ["hydra.job.name=train", "hydra.sweep.dir=here"], return_hydra_config=True)
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.overrides.task = list(words)
            config.hydra.job.config_name = "config"
        grid = FittingGrid(config)
        batches = grid.split(OverridesParser.create().parse_overrides(list(words)), batch)
        return batches, grid.note, plan(config, FittingGrid(config))


def test_a_recommender_without_the_key_runs_once() -> None:
    batches, note, line = split("recommender=knn,bert", "recommender.lr=0.01,0.001", "seed=3")
    assert batches == [
        [
            ["recommender=knn", "seed=3"],
            ["recommender=bert", "recommender.lr=0.01", "seed=3"],
            ["recommender=bert", "recommender.lr=0.001", "seed=3"],
        ]
    ]
    assert note == "recommender.lr is left out for recommender=knn"
    assert line.startswith(
        "sweep of train: 3 jobs (2 recommender × 2 lr; recommender.lr is left out for recommender=knn)"
    )


def test_a_value_for_all_is_left_out_too_and_batches_keep_their_size() -> None:
    words = ("recommender=knn,shallow,bert", "recommender.max_seq_len=50", "embedding=random,mfcc")
    batches, note, _ = split(*words, batch=4)
    assert [len(batch) for batch in batches] == [4, 2]
    assert note == "recommender.max_seq_len is left out for recommender=knn and recommender=shallow"
    with_key = [job for batch in batches for job in batch if "recommender.max_seq_len=50" in job]
    assert [job[0] for job in with_key] == ["recommender=bert"] * 2


def test_keys_of_other_groups_follow_their_own_group() -> None:
    batches, note, _ = split(
        "embedding=random,musicnn", "embedding.dim=8,16", "recommender=knn,bert", "recommender.lr=1,2"
    )
    assert sum(map(len, batches)) == (2 + 1) * (1 + 2)
    assert note == "embedding.dim is left out for embedding=musicnn; recommender.lr is left out for recommender=knn"


def test_a_key_that_no_recommender_has_stays_for_hydra_to_report() -> None:
    jobs = [["recommender=knn", "recommender.lrr=1"], ["recommender=bert", "recommender.lrr=1"]]
    assert fitting_jobs(jobs, {"recommender"}, lambda chosen, key: False) == (jobs, {})
    batches, note, _ = split("recommender=bert", "recommender.lr=1,2", "+recommender.mine=1")
    assert (sum(map(len, batches)), note) == (2, "")


def test_swept_experiments_bring_their_grids() -> None:
    batches, _, line = split("experiment=shallow_grid,bert_grid", "recommender.batch_size=64")
    assert sum(map(len, batches)) == 120 + 12
    assert line.startswith("sweep of train: 132 jobs (2 experiment)")
    grid = expand([["experiment=shallow_grid", "recommender.hidden_dim=64", "recommender.l2=0"], ["experiment=smoke"]])
    assert len(grid) == 4 * 2 + 1
    assert grid[-1] == ["experiment=smoke"]


def test_hydras_own_function_comes_back() -> None:
    before = BasicSweeper.split_arguments
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        FittingGrid(compose("config", return_hydra_config=True)).install()
    assert BasicSweeper.split_arguments is not before
    FittingGrid.remove()
    assert BasicSweeper.split_arguments is before


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("experiment=[smoke,sequential]", ["experiment=sequential", "+experiment@_global_=[smoke]"]),
        ("experiment=[smoke]", ["experiment=smoke"]),
        ("experiment=[]", []),
        ("experiment=[demo_bert, smoke,demo_bert]", ["experiment=demo_bert", "+experiment@_global_=[smoke]"]),
        ("experiment=smoke,paper", ["experiment=smoke,paper"]),
    ],
)
def test_a_list_of_experiments_is_composed_together(word: str, expected: list[str]) -> None:
    folders = config_dir() / "experiment"
    assert combined_experiments([word], lambda name: (folders / name).is_dir()) == expected
    if len(expected) == 2:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = compose("config", [*expected, "recommender=bert"])
        assert config.data.name == "smoke"
        assert config.monitor == ("val/ndcg@10" if "sequential" in word else "val/loss")


@pytest.mark.parametrize("word", ["experiment=[paper,sequential]", "experiment=[a,b],[c]", "experiment=[$x]"])
def test_a_list_that_cannot_be_combined_is_one_line(word: str, tmp_path: Path) -> None:
    with pytest.raises(MusicrecError, match="experiment="):
        combined_experiments([word], {"paper", "sequential"}.__contains__)
