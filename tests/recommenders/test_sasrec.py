"""SASRec: causality, targets, the three losses against direct computations, learnt ids, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from musicrec.data.batches.base import BatchKey
from musicrec.data.batches.sequences import PAD, MaskedBatch
from musicrec.data.interactions import Interactions, SplitData
from musicrec.errors import MusicrecError
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.networks.transformer import EncoderLayer, Layout, SequenceTransformer
from musicrec.recommenders.sasrec import SASRec
from tests.recommenders.conftest import VAL, made, rows

SMALL: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 12, "max_seq_len": 12}
TOKENS = torch.tensor([[3, 2, 0, 5], [6, 2, PAD, PAD], [1, 1, 4, PAD]])
REAL = (TOKENS.flatten() != PAD).nonzero()[:, 0]


def network(**options: Any) -> SequenceTransformer:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "hidden_size": 8,
        "project": True,
        "layers": 2,
        "heads": 2,
        "intermediate_size": 12,
        "max_seq_len": 6,
        "dropout": 0.0,
        "head": "linear",
        "norm": "pre",
        "causal": True,
    }
    net = SequenceTransformer(EmbeddingTable(torch.randn(7, 5), frozen=True), **{**defaults, **options})
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return net


def batch_of(model: SASRec, which: int = 0) -> MaskedBatch:
    source = model.sources()[which]
    assert source is not None
    batch: MaskedBatch = source.batch(BatchKey(source, 0, 0, 0, 1), torch.device("cpu"))
    return batch


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_layer_is_the_textbook_layer_with_a_causal_mask(norm: str) -> None:
    torch.manual_seed(0)
    own = EncoderLayer(8, 2, 12, 0.0, norm, causal=True)
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", 1e-12, True, norm == "pre").train()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([own.query.weight, own.key_value.weight]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([own.query.bias, own.key_value.bias]))
        for mine, other in (
            (own.attention_output, theirs.self_attn.out_proj),
            (own.widen, theirs.linear1),
            (own.narrow, theirs.linear2),
        ):
            other.weight.copy_(mine.weight)
            other.bias.copy_(mine.bias)
    states = torch.randn(3, 4, 8)
    padding = TOKENS == PAD
    causal = torch.ones(4, 4, dtype=torch.bool).triu(1)
    expected = theirs(states, src_mask=causal, src_key_padding_mask=padding).flatten(0, 1)
    layout = Layout.of(REAL, 3, 4)
    torch.testing.assert_close(own(states.flatten(0, 1)[REAL], layout, None, layout), expected[REAL])
    wanted = torch.tensor([1, 2, 4, 10])
    chosen = torch.searchsorted(REAL, wanted)
    some = own(states.flatten(0, 1)[REAL], layout, chosen, Layout.of(wanted, 3, 4))
    torch.testing.assert_close(some, expected[wanted])


@pytest.mark.parametrize("head", ["linear", "tied"])
def test_a_position_reads_what_came_before_only(head: str) -> None:
    net = network(head=head)
    whole = net(TOKENS, REAL)
    rows_before = 0
    for row in TOKENS:
        length = int((row != PAD).sum())
        for end in range(1, length + 1):
            alone = net(row[None, :end], torch.tensor([end - 1]))
            torch.testing.assert_close(alone[0], whole[rows_before + end - 1])
        rows_before += length
    assert net.mask is None


def test_every_position_predicts_the_next(ten_rows: SplitData) -> None:
    batch = batch_of(made(SASRec, ten_rows, **SMALL))
    # Histories: 0 1 2, then 3 4 2, then 4 0 5; that of one track teaches nothing.
    found = {tuple(row) for row in batch.tokens.tolist()}
    assert found == {(0, 1), (3, 4), (4, 0)}
    follows = {(0, 1): [1, 2], (3, 4): [4, 2], (4, 0): [0, 5]}
    assert batch.targets.tolist() == [item for row in batch.tokens.tolist() for item in follows[tuple(row)]]
    assert batch.masked.tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.negatives is None


def test_long_histories_are_read_in_another_stretch_in_each_epoch() -> None:
    history = Interactions.from_frame(rows(*((1, item, item, 1) for item in range(30))), 30)
    data = SplitData(history, {"val": VAL[:0], "test": VAL[:0]})

    def windows(window: str) -> set[tuple[int, ...]]:
        source = made(SASRec, data, **{**SMALL, "max_seq_len": 4, "window": window}).sources()[0]
        keys = (BatchKey(source, epoch, 0, 0, 1) for epoch in range(200))
        batches = [source.batch(key, torch.device("cpu")) for key in keys]
        assert all(batch.targets.tolist() == (batch.tokens[0] + 1).tolist() for batch in batches)
        return {tuple(batch.tokens[0].tolist()) for batch in batches}

    assert windows("last") == {(25, 26, 27, 28)}
    assert windows("random") == {tuple(range(start, start + 4)) for start in range(26)}


def test_full_loss_is_the_cross_entropy_of_the_next_items(ten_rows: SplitData, plane: np.ndarray) -> None:
    model = made(SASRec, ten_rows, plane, **SMALL, dropout=0.0)
    batch = batch_of(model)
    loss, size = model.loss(batch)
    logits = model.net(batch.tokens, batch.masked)
    assert size == 6
    torch.testing.assert_close(loss, F.cross_entropy(logits, batch.targets))


def test_sampled_loss_estimates_the_full_one(ten_rows: SplitData, plane: np.ndarray) -> None:
    full = made(SASRec, ten_rows, plane, **SMALL, dropout=0.0)
    model = made(SASRec, ten_rows, plane, **SMALL, dropout=0.0, loss="sampled", samples=20_000)
    for weights in (full, model):
        torch.manual_seed(0)
        assert weights.net.head is not None
        torch.nn.init.normal_(weights.net.head.weight, std=1.0)
    batch = batch_of(model)
    torch.manual_seed(1)
    torch.testing.assert_close(model.loss(batch)[0], full.loss(batch)[0], atol=0.01, rtol=0)
    # val/loss is always the full one.
    torch.testing.assert_close(model.eval().loss(batch)[0], full.eval().loss(batch)[0])


@pytest.mark.parametrize("head", ["linear", "tied"])
def test_binary_loss_is_against_a_track_that_the_user_did_not_play(
    ten_rows: SplitData, plane: np.ndarray, head: str
) -> None:
    model = made(SASRec, ten_rows, plane, **SMALL, dropout=0.0, head=head, loss="binary")
    source = model.sources()[0]
    histories = {(0, 1): {0, 1, 2}, (3, 4): {2, 3, 4}, (4, 0): {0, 4, 5}}
    drawn: set[int] = set()
    for epoch in range(20):
        batch = source.batch(BatchKey(source, epoch, 0, 0, 1), torch.device("cpu"))
        for row, negatives in zip(batch.tokens.tolist(), batch.negatives.view(3, 2).tolist(), strict=True):
            assert not histories[tuple(row)] & set(negatives)
            drawn |= set(negatives)
    assert drawn == {0, 1, 2, 3, 4, 5}
    batch = batch_of(model)
    assert batch.negatives is not None
    logits = model.net(batch.tokens, batch.masked).detach().double()
    by_hand = [
        -math.log(1 / (1 + math.exp(-row[wanted]))) - math.log(1 - 1 / (1 + math.exp(-row[unwanted])))
        for row, wanted, unwanted in zip(logits, batch.targets, batch.negatives, strict=True)
    ]
    assert float(model.loss(batch)[0].detach()) == pytest.approx(sum(by_hand) / 6, abs=1e-5)


def test_val_loss_is_that_of_the_first_held_out_track(ten_rows: SplitData, plane: np.ndarray) -> None:
    model = made(SASRec, ten_rows, plane, **SMALL).eval()
    batch = batch_of(model, which=1)
    assert batch.tokens.tolist() == [[0, 1, 2], [3, 4, 2]]
    assert (batch.masked.tolist(), batch.targets.tolist()) == ([2, 5], [3, 0])


def test_scores_are_the_logits_after_the_last_track(ten_rows: SplitData, plane: np.ndarray) -> None:
    for head in ("linear", "tied"):
        model = made(SASRec, ten_rows, plane, head=head, **SMALL).eval()
        with torch.no_grad():
            logits = model.net(torch.tensor([[4, 0, 5]]), torch.tensor([2]))[0]
        np.testing.assert_allclose(model.user_vectors()[2] @ model.item_vectors()[:6].T, logits, atol=1e-5)
        short = made(SASRec, ten_rows, plane, head=head, **SMALL, predict_len=2).eval()
        with torch.no_grad():
            logits = short.net(torch.tensor([[0, 5]]), torch.tensor([1]))[0]
        np.testing.assert_allclose(short.user_vectors()[2] @ short.item_vectors()[:6].T, logits, atol=1e-5)


def test_without_an_embedding_it_learns_a_vector_per_track(many: SplitData, fit: Callable[..., Any]) -> None:
    model = made(SASRec, many, **SMALL, head="tied", lr=0.01, monitor="train/loss")
    before = model.net.items.weight.detach().clone()
    assert before.shape == (30, 8) and float(before.std()) == pytest.approx(0.02, rel=0.15)
    fit(model, epochs=2)
    assert not torch.equal(before, model.net.items.weight)


def test_it_learns_an_order_that_is_certain(fit: Callable[..., Any]) -> None:
    """Each track is followed by the next one; after training the next one is first in every list."""
    pairs = [(user, (user + step) % 20, step, 1) for user in range(20) for step in range(6)]
    held = rows(*((user, (user + 6) % 20, 400, 1) for user in range(20)))
    data = SplitData(Interactions.from_frame(rows(*pairs), 20), {"val": held, "test": held[:0]})
    model = made(SASRec, data, **SMALL, head="tied", lr=0.01, dropout=0.0)
    fit(model, epochs=60)
    ids, _ = model.recommend(np.arange(20), 1)
    assert (ids[:, 0] == held.track_id.to_numpy()).mean() >= 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "bpr"}, "recommender.loss=bpr is invalid; must be full, sampled or binary"),
        ({"samples": 0}, "recommender.samples=0 is invalid; must be a whole number from 1"),
        ({"window": "first"}, "recommender.window=first is invalid; must be last or random"),
        ({"init": "he"}, "recommender.init=he is invalid; must be bert or xavier"),
        ({"hidden_size": "same"}, "recommender.hidden_size=same is invalid; must be a positive number"),
        ({"num_attention_heads": 3}, "recommender.num_attention_heads=3 is invalid; must be a divisor of the hidden"),
    ],
)
def test_wrong_values_are_refused(ten_rows: SplitData, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        made(SASRec, ten_rows, **{**SMALL, **options})


def test_histories_of_one_track_teach_nothing() -> None:
    train = Interactions.from_frame(rows((1, 0, 1, 1), (2, 1, 1, 1)), 2)
    with pytest.raises(MusicrecError, match="no user has two tracks in training"):
        made(SASRec, SplitData(train, {"val": VAL[:0], "test": VAL[:0]}), **SMALL).sources()
