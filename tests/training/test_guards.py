"""A training that cannot lead to a result stops, and publishes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from musicrec import stages
from musicrec.errors import MusicrecError
from musicrec.training.guards import refuse_infinite_weights

SMALL = ("data=custom", "embedding=random", "embedding.dim=6", "trainer=cpu", "logger=none", "eval.k=2", "eval.top_k=3")


@pytest.mark.parametrize("recommender", ["shallow", "bert"])
def test_a_loss_that_is_not_finite_stops_the_run_with_step_and_cause(
    compose: Callable[..., DictConfig], tiny_workspace: Path, recommender: str
) -> None:
    for _ in range(2):  # also when it is run again
        with pytest.raises(
            MusicrecError, match=r"(is (nan|inf) at step \d+ \(epoch \d+\)|not finite).*recommender.lr="
        ):
            stages.train(compose(*SMALL, f"recommender={recommender}", "recommender.lr=1e30", "trainer.max_epochs=20"))
    assert not list(tiny_workspace.glob("preds/*")) and not list(tiny_workspace.glob("metrics/*"))


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    model = torch.nn.Linear(1, 1)
    refuse_infinite_weights("mine", model, "none")
    with torch.no_grad():
        model.bias.fill_(torch.nan)
    with pytest.raises(MusicrecError, match="mine: weights of bias are not finite"):
        refuse_infinite_weights("mine", model, "none")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recommender.lr=inf", "recommender.lr=inf is invalid; must be a finite number"),
        ("recommender.lr=abc", "recommender.lr=abc is invalid; must be a finite number above 0"),
        ("recommender.margin=nan", "recommender.margin=nan is invalid; must be a finite number"),
        ("recommender.margin=-1", "recommender.margin=-1 is invalid; must be a finite number from 0"),
        ("eval.top_k=0", "eval.top_k=0 is invalid; must be a whole number from 1"),
        ("eval.top_k=1.5", "eval.top_k=1.5 is invalid"),
        ("overwrite=no", "overwrite='no' is invalid; must be true or false"),
        ("overwrite=off", "overwrite='off' is invalid"),
        ('overwrite="false"', "overwrite='false' is invalid"),
        ("overwrite=0", "overwrite=0 is invalid"),
        ("wait=n", "wait='n' is invalid"),
        ("extract.overwrite=null", "extract.overwrite=null is invalid"),
        ("recommender.item_freeze=off", "recommender.item_freeze='off' is invalid; must be true or false"),
        ("data.make_missing=no", "data.make_missing='no' is invalid"),
        ("embedding.trainable=n", "embedding.trainable='n' is invalid"),
        ("run_name=../../x", "run_name=../../x is invalid; must be a file name"),
        ("run_name=a/b", "run_name=a/b is invalid"),
        ("run_name=.x", "run_name=.x is invalid"),
        ("run_name=''", "run_name='' is invalid"),
        (f"run_name={'x' * 300}", "run_name=xxx"),
    ],
)
def test_values_that_would_lead_to_wrong_results_are_refused(
    compose: Callable[..., DictConfig], tiny_workspace: Path, override: str, message: str
) -> None:
    before = sorted(tiny_workspace.parent.rglob("*"))
    with pytest.raises(MusicrecError) as refused:
        stages.train(compose(*SMALL, "recommender=shallow", "trainer.max_epochs=1", override))
    assert message in str(refused.value)
    written = set(tiny_workspace.parent.rglob("*")) - set(before)
    assert not [path for path in written if "preds" in path.parts or path.suffix == ".ckpt"]
