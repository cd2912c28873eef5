"""The metric that chooses the best epoch, computed on the val users during fit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from musicrec.data.interactions import SplitData
from musicrec.errors import MusicrecError
from musicrec.evaluation.metrics import per_user
from musicrec.recommenders.bert4rec import BERT4Rec
from musicrec.recommenders.sasrec import SASRec
from musicrec.recommenders.shallow import Shallow
from musicrec.recommenders.trained import TrainedRecommender, canonical_monitor
from musicrec.training.outputs import predictions as _predictions
from tests.recommenders.conftest import made


@pytest.mark.parametrize(
    ("given", "logged"),
    [("val/loss", "val/loss"), ("val/ndcg@50", "val/NDCG@50"), ("VAL/HitRate@007", "val/HitRate@7")],
)
def test_names_are_as_they_are_logged(given: str, logged: str) -> None:
    assert canonical_monitor(given) == logged


@pytest.mark.parametrize("wrong", ["val/ndcg", "val/ndcg@0", "val/ndcg@x", "test/ndcg@5", "val/auc@5", ""])
def test_other_names_are_refused_with_what_is_allowed(wrong: str) -> None:
    with pytest.raises(MusicrecError, match="val/loss, train/loss, or val/hitrate@K, val/mrr@K"):
        canonical_monitor(wrong)


@pytest.mark.parametrize("kind", [Shallow, BERT4Rec, SASRec])
@pytest.mark.parametrize("metric", ["ndcg", "recall", "hitrate"])
def test_the_metric_is_that_of_the_final_lists(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any], kind: type[TrainedRecommender], metric: str
) -> None:
    options: dict[str, Any] = {"batch_size": 16, "monitor": f"val/{metric}@5", "lr": 0.01}
    model = made(kind, many, audio, **options)
    assert model.monitor_mode == "max"
    trainer = fit(model, epochs=2)
    model.eval()
    values = per_user(many.truth["val"], _predictions(model, many, 5), 5)
    column = model.monitor.removeprefix("val/")
    assert float(trainer.callback_metrics[model.monitor]) == pytest.approx(values[column].mean(), abs=1e-6)
    assert "val/loss" in trainer.callback_metrics


def test_the_best_epoch_is_the_one_with_the_highest_value(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(Shallow, many, audio, monitor="val/ndcg@5", batch_size=16, lr=0.05)
    seen: list[float] = []
    original = model._val_metric

    def spy() -> torch.Tensor:
        seen.append(float(value := original()))
        return value

    monkeypatch.setattr(model, "_val_metric", spy)
    trainer = fit(model, epochs=4)
    assert len(seen) == 4 and len(set(seen)) > 1
    assert float(trainer.checkpoint_callback.best_model_score) == pytest.approx(max(seen))


def test_val_users_without_a_known_track_count_as_misses(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any]
) -> None:
    truth = many.truth["val"].copy()
    lost = truth["user_id"] == truth["user_id"].iloc[0]
    missing = np.zeros(30, bool)
    missing[truth.loc[lost, "track_id"].to_numpy()] = True
    data = many.without_items(missing)
    model = made(Shallow, data, audio, monitor="val/recall@5", batch_size=16)
    trainer = fit(model, epochs=1)
    values = per_user(truth, _predictions(model.eval(), data, 5), 5)
    assert float(trainer.callback_metrics["val/Recall@5"]) == pytest.approx(values["Recall@5"].mean(), abs=1e-6)
