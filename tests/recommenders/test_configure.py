"""conf/recommender/*.yaml: complete, instantiable, with the constructor's own defaults; policy apart from the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from musicrec.data.interactions import SplitData
from musicrec.errors import MusicrecError
from musicrec.options import options_of
from musicrec.recommenders.base import Inputs
from musicrec.recommenders.bert4rec import BERT4Rec
from musicrec.recommenders.configure import COLD_IN_TRAINING, POLICY, make_recommender, training_settings
from musicrec.recommenders.shallow import Shallow
from musicrec.recommenders.trained import TrainedRecommender
from tests.recommenders.conftest import made


@pytest.mark.parametrize("name", ["knn", "shallow", "bert", "sasrec", "hybrid"])
def test_yaml_holds_every_argument_with_its_default(compose: Callable[..., DictConfig], name: str) -> None:
    settings = compose(f"recommender={name}").recommender
    options = options_of(get_class(settings._target_), ("inputs",))
    defaults = {key: option.default for key, option in options.items()}
    given = OmegaConf.to_container(settings, resolve=True)
    assert isinstance(given, dict)
    assert {
        key: value
        for key, value in given.items()
        if not str(key).startswith("_") and key not in (*POLICY, COLD_IN_TRAINING)
    } == defaults
    policy = set(POLICY) if issubclass(get_class(settings._target_), TrainedRecommender) else {"name"}
    optional = {"monitor", "ema_decay"}
    assert given.keys() & set(POLICY) - optional == policy - optional


@pytest.mark.parametrize("name", ["knn", "shallow", "bert"])
def test_instantiated_recommender_recommends(
    compose: Callable[..., DictConfig], ten_rows: SplitData, plane: np.ndarray, name: str
) -> None:
    cfg = compose(f"recommender={name}", "seed=3", "recommender.name=mine")
    inputs = Inputs(ten_rows, plane, seed=3, training=training_settings(cfg))
    model = make_recommender(cfg.recommender, inputs)
    ids, scores = model.recommend(np.arange(4), 6)
    assert ids.shape == scores.shape == (4, 6)
    for user, row in enumerate(ids):
        played = set(ten_rows.train.items[ten_rows.train.users == user].tolist())
        assert set(row.tolist()) - {-1} == set(range(6)) - played
    assert model.trainable == (name != "knn")
    assert model.seed == 3


def test_optimizer_scheduler_and_monitor_come_from_the_configuration(
    compose: Callable[..., DictConfig], many: SplitData, audio: np.ndarray
) -> None:
    keys = ("recommender.lr=0.25", "recommender.lr_patience=2", "monitor=val/ndcg@7", "scheduler=plateau_metric")
    settings = training_settings(compose("recommender=shallow", *keys))
    model = Shallow(Inputs(many, audio, training=settings))
    chosen = cast(dict[str, Any], model.configure_optimizers())
    assert type(chosen["optimizer"]) is torch.optim.Adam
    assert chosen["optimizer"].param_groups[0]["lr"] == 0.25 and chosen["optimizer"].param_groups[0]["fused"] is True
    schedule = chosen["lr_scheduler"]
    assert (schedule["scheduler"].patience, schedule["scheduler"].factor, schedule["scheduler"].mode) == (2, 0.1, "max")
    assert schedule["monitor"] == model.monitor == "val/NDCG@7"


def test_a_plateau_follows_losses_only_unless_told_otherwise(
    compose: Callable[..., DictConfig],
    many: SplitData,
    audio: np.ndarray,
    fit: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of a metric that never gets better, a patience of 0 makes the rate a tenth in each epoch but the first."""

    def last_rate(*keys: str) -> float:
        caplog.clear()
        settings = training_settings(compose("recommender=shallow", "recommender.lr_patience=0", *keys))
        model = Shallow(Inputs(many, audio, training=settings))
        model._val_metric = lambda: torch.tensor(0.5)  # type: ignore[method-assign]
        fit(model, 4, folder=f"run{len(keys)}")
        return float(model.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]

    with caplog.at_level("INFO", logger="musicrec"):
        assert last_rate("monitor=val/ndcg@5") == 0.001
        assert "the learning rate stays as it is: from epoch to epoch val/NDCG@5 jumps more than" in caplog.text
        assert last_rate("monitor=val/ndcg@5", "scheduler=plateau_metric") == pytest.approx(1e-6)
        assert "the learning rate stays" not in caplog.text
    schedule = cast(dict[str, Any], made(Shallow, many, audio).configure_optimizers())["lr_scheduler"]
    assert (schedule["monitor"], schedule["scheduler"].mode) == ("val/loss", "min")


@pytest.mark.parametrize(
    ("optimizer", "kind", "fused"),
    [("adamw", torch.optim.AdamW, True), ("nadam", torch.optim.NAdam, None), ("adam", torch.optim.Adam, True)],
)
def test_other_optimizers(
    compose: Callable[..., DictConfig],
    many: SplitData,
    audio: np.ndarray,
    optimizer: str,
    kind: type[torch.optim.Optimizer],
    fused: bool | None,
) -> None:
    settings = training_settings(compose("recommender=bert", f"optimizer={optimizer}", "scheduler=none"))
    chosen = BERT4Rec(Inputs(many, audio, training=settings)).configure_optimizers()
    assert type(chosen) is kind
    assert chosen.param_groups[0].get("fused") is fused
    off = training_settings(compose("recommender=bert", "+optimizer.fused=false", "scheduler=none"))
    plain = BERT4Rec(Inputs(many, audio, training=off)).configure_optimizers()
    assert isinstance(plain, torch.optim.Adam) and plain.param_groups[0]["fused"] is False


def test_warm_up_rises_by_epoch_and_a_resumed_run_repeats_it(
    compose: Callable[..., DictConfig], many: SplitData, audio: np.ndarray, fit: Callable[..., Any], tmp_path: Path
) -> None:
    settings = training_settings(compose("recommender=shallow", "scheduler=warmup", "recommender.lr=0.5"))
    whole, part, rest = (Shallow(Inputs(many, audio, training=settings)) for _ in range(3))
    rates = []
    whole.on_train_epoch_start = lambda: rates.append(whole.optimizers().param_groups[0]["lr"])  # type: ignore
    fit(whole, 7, "whole")
    assert rates == pytest.approx([0.05, 0.14, 0.23, 0.32, 0.41, 0.5, 0.5])
    fit(part, 3, "part")
    fit(rest, 7, "rest", resume=str(tmp_path / "part" / "last.ckpt"))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, rest.state_dict()[name])


@pytest.mark.parametrize("rate", ["0", "-0.1"])
def test_a_learning_rate_must_be_positive(compose: Callable[..., DictConfig], rate: str) -> None:
    with pytest.raises(MusicrecError, match=rf"recommender\.lr={rate} is invalid; must be a finite number above 0"):
        training_settings(compose("recommender=bert", f"recommender.lr={rate}"))


@pytest.mark.parametrize(("name", "key"), [("knn", "patience"), ("knn", "dropout"), ("bert", "neg_samples")])
def test_an_unknown_key_is_refused_with_those_that_are_known(
    compose: Callable[..., DictConfig], ten_rows: SplitData, plane: np.ndarray, name: str, key: str
) -> None:
    node = compose(f"recommender={name}", f"+recommender.{key}=3").recommender
    with pytest.raises(MusicrecError, match=rf"recommender\.{key} is unknown to .*; it takes .*search"):
        make_recommender(node, Inputs(ten_rows, plane))


@pytest.mark.parametrize(("suffix", "learnt"), [("", True), ("_text", False)])
def test_the_study_s_options_have_the_flags_of_the_code_or_those_of_the_article(
    compose: Callable[..., DictConfig], suffix: str, learnt: bool
) -> None:
    bert = compose(f"recommender=bert_paper{suffix}").recommender
    assert bert.name == f"bert_paper{suffix}" and bert.item_freeze is not learnt
    assert (bert.max_seq_len, bert.predict_len, bert.hidden_size, bert.head) == (300, 50, "same", "tied")
    assert (bert.batch_size, bert.intermediate_size, bert.lr) == (128, 256, 0.001)
    shallow = compose(f"recommender=shallow_paper{suffix}").recommender
    assert shallow.name == f"shallow_paper{suffix}" and shallow.item_freeze is not learnt
    assert shallow.user_freeze is learnt
    assert (shallow.hidden_dim, shallow.neg_samples, shallow.exclude_positives) == ("same", 20, False)


def test_users_of_a_learnt_random_table_start_at_random(ten_rows: SplitData, plane: np.ndarray) -> None:
    def users(trainable: bool, user_init: bool | str) -> torch.Tensor:
        return made(Shallow, ten_rows, plane, trainable, user_init=user_init).net.users.weight

    assert torch.equal(users(False, "auto"), users(False, True))
    assert torch.equal(users(True, "auto"), users(True, False))
    assert not torch.equal(users(True, "auto"), users(True, True))
