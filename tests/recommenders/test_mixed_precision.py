"""trainer.precision=bf16-mixed trains both recommenders to much the same model; lists stay exact."""

from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl

from musicrec.data.interactions import SplitData
from musicrec.recommenders.bert4rec import BERT4Rec
from musicrec.recommenders.sasrec import SASRec
from musicrec.recommenders.shallow import Shallow
from musicrec.recommenders.trained import TrainedRecommender
from tests.recommenders.conftest import made


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Shallow, {"batch_size": 16}),
        (Shallow, {"batch_size": 16, "hidden_dim": 0}),
        (BERT4Rec, {"hidden_size": 16, "max_seq_len": 20}),
        (BERT4Rec, {"hidden_size": 16, "max_seq_len": 20, "head": "tied", "softmax": "sampled"}),
        (SASRec, {"hidden_size": 16, "max_seq_len": 20}),
        (SASRec, {"hidden_size": 16, "max_seq_len": 20, "head": "tied", "loss": "sampled"}),
        (SASRec, {"hidden_size": 16, "max_seq_len": 20, "head": "tied", "loss": "binary"}),
    ],
)
def test_half_precision_trains_much_the_same(
    many: SplitData, audio: np.ndarray, kind: type[TrainedRecommender], options: dict[str, Any]
) -> None:
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        model = made(kind, many, audio, lr=0.01, **options)
        trainer = pl.Trainer(
            accelerator="cpu",
            precision=precision,
            max_epochs=4,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, datamodule=model.datamodule())
        losses[precision] = float(trainer.callback_metrics["val/loss"])
        ids, scores = model.recommend(np.arange(5), 4)
        assert (ids >= 0).all() and np.isfinite(scores).all()
    assert losses["32-true"] != losses["bf16-mixed"]
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.05)
