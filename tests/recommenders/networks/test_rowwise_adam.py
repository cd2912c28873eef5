"""RowwiseAdam against torch's SparseAdam and Adam, and tables of which only the rows read are updated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from musicrec.data.interactions import SplitData
from musicrec.errors import MusicrecError
from musicrec.options import construct
from musicrec.recommenders.bert4rec import BERT4Rec
from musicrec.recommenders.inputs import Inputs, Training
from musicrec.recommenders.networks.rowwise_adam import RowwiseAdam, rows_of
from musicrec.recommenders.sasrec import SASRec
from tests.recommenders.test_sasrec import batch_of

ROWS = [torch.tensor(read) for read in ([3, 1, 3], [0, 3], [5, 5, 5], [1, 2, 3, 4])]


def loss(table: torch.Tensor, layer: torch.Tensor, read: torch.Tensor, sparse: bool) -> torch.Tensor:
    return (rows_of(table, read, sparse) @ layer).sin().sum()


def closure(table: torch.Tensor, layer: torch.Tensor, read: torch.Tensor) -> float:
    loss(table, layer, read, sparse=True).backward()
    return 5.0


def test_tables_follow_sparse_adam_and_the_rest_adam() -> None:
    torch.manual_seed(0)
    start = torch.randn(7, 4), torch.randn(4, 3)
    table, layer, theirs, other = (torch.nn.Parameter(part.clone()) for part in (*start, *start))
    own = RowwiseAdam([table, layer], lr=0.1, fused=True)
    references = torch.optim.SparseAdam([theirs], lr=0.1), torch.optim.Adam([other], lr=0.1, fused=True)
    for read in ROWS:
        own.zero_grad()
        assert own.step(partial(closure, table, layer, read)) == 5.0
        for reference in references:
            reference.zero_grad()
        loss(theirs, other, read, sparse=True).backward()
        for reference in references:
            reference.step()
        torch.testing.assert_close(table, theirs, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(layer, other, rtol=1e-5, atol=1e-6)
    assert torch.equal(table[6], start[0][6])
    restored = RowwiseAdam([table, layer], lr=0.1)
    restored.load_state_dict(own.state_dict())
    assert torch.equal(restored.state[table]["exp_avg"], own.state[table]["exp_avg"])


def test_dense_gradients_are_those_of_adam() -> None:
    torch.manual_seed(0)
    start = torch.randn(7, 4), torch.randn(4, 3)
    mine, theirs = ([torch.nn.Parameter(part.clone()) for part in start] for _ in range(2))
    for weights, make in ((mine, RowwiseAdam), (theirs, torch.optim.Adam)):
        optimizer = make(weights, lr=0.1)
        for read in ROWS:
            optimizer.zero_grad()
            loss(weights[0], weights[1], read, sparse=False).backward()
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))


def test_weight_decay_is_refused() -> None:
    with pytest.raises(MusicrecError, match="optimizer.weight_decay=0.1 is invalid; must be 0 with rowwise_adam"):
        RowwiseAdam([torch.nn.Parameter(torch.zeros(1))], weight_decay=0.1)


def model(kind: type[SASRec] | type[BERT4Rec], data: SplitData, audio: np.ndarray, **options: object) -> Any:
    training = Training(partial(RowwiseAdam, lr=0.01), None, "train/loss")
    small = {"hidden_size": 8, "intermediate_size": 8, "dropout": 0.0, "batch_size": 3}
    inputs = Inputs(data, audio, training=training)
    return construct(kind, {**small, **options}, "recommender", {"inputs": inputs})


@pytest.mark.parametrize(
    ("kind", "options", "tables"),
    [
        (SASRec, {"loss": "sampled", "samples": 2, "item_freeze": False, "head": "tied"}, {"net.items.weight"}),
        (SASRec, {"loss": "binary", "item_ids": "add", "head": "linear"}, {"net.ids.weight", "net.head.weight"}),
        (SASRec, {"loss": "full", "item_freeze": False}, set()),
        (
            BERT4Rec,
            {"softmax": "sampled", "softmax_samples": 2, "item_ids": "add"},
            {"net.ids.weight", "net.head.weight"},
        ),
    ],
)
def test_tables_of_sampled_losses_get_gradients_of_the_rows_read(
    many: SplitData, audio: np.ndarray, kind: type[SASRec], options: dict[str, object], tables: set[str]
) -> None:
    sparse = model(kind, many, audio, **options)
    gradients = []
    for flag in (sparse.net.sparse, False):
        sparse.net.sparse = flag
        sparse.zero_grad()
        torch.manual_seed(1)
        loss, _ = sparse.loss(batch_of(sparse))
        loss.backward()
        gradients.append({name: weight.grad for name, weight in sparse.named_parameters() if weight.grad is not None})
    assert {name for name, gradient in gradients[0].items() if gradient.is_sparse} == tables
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient.to_dense(), gradients[1][name], msg=name)


def test_training_moves_only_what_was_read_and_resumes_exactly(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any], tmp_path: Path
) -> None:
    options = {"loss": "sampled", "samples": 2, "item_freeze": False, "head": "tied", "batch_size": 1}
    whole, half, resumed = (model(SASRec, many, audio, **options) for _ in range(3))
    start = whole.net.items.weight.detach().clone()
    trainer = pl.Trainer(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False)
    trainer.fit(whole, datamodule=whole.datamodule())
    still = (whole.net.items.weight == start).all(dim=1)
    assert 5 < int(still.sum()) < 28
    whole = model(SASRec, many, audio, **options)
    fit(whole, 3, "whole")
    fit(half, 1, "half")
    fit(resumed, 3, "resumed", str(tmp_path / "half" / "last.ckpt"))
    assert torch.equal(whole.net.items.weight, resumed.net.items.weight)
    assert not torch.equal(whole.net.items.weight, half.net.items.weight)


def test_clipped_gradients_are_refused(many: SplitData, audio: np.ndarray) -> None:
    trainer = pl.Trainer(accelerator="cpu", max_steps=1, logger=False, gradient_clip_val=1.0)
    clipped = model(SASRec, many, audio)
    with pytest.raises(MusicrecError, match=r"trainer.gradient_clip_val=1.0 is invalid; must be null with optimizer="):
        trainer.fit(clipped, datamodule=clipped.datamodule())
