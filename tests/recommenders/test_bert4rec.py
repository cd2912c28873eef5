"""BERT4Rec: the network against direct computations, order and masking of the ten rows, every hyper-parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from musicrec.data.batches.base import BatchKey
from musicrec.data.batches.sequences import MASK, PAD, MaskedBatch, MaskedSource, NextSource
from musicrec.data.interactions import Interactions, SplitData
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Inputs
from musicrec.recommenders.bert4rec import BERT4Rec
from musicrec.recommenders.histories import item_sequences
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.networks.transformer import EncoderLayer, Layout, SequenceTransformer
from musicrec.recommenders.sequence_settings import ItemSettings, SequenceSettings, TransformerSettings
from musicrec.recommenders.sequential import standardised
from tests.recommenders.conftest import VAL, made, rows

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 12, "max_seq_len": 12}


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
        "norm": "post",
    }
    net = SequenceTransformer(EmbeddingTable(torch.randn(7, 5), frozen=True), **{**defaults, **options})
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return net


def batch_of(model: BERT4Rec, which: int = 0, epoch: int = 0) -> MaskedBatch:
    source = model.sources()[which]
    assert source is not None
    batch: MaskedBatch = source.batch(BatchKey(source, epoch, 0, 0, 1), CPU)
    return batch


TOKENS = torch.tensor([[3, MASK, 0, 5], [MASK, 2, PAD, PAD], [1, 1, 4, PAD]])
REAL = (TOKENS.flatten() != PAD).nonzero()[:, 0]


def test_input_is_projected_item_plus_position_normalised() -> None:
    net = network(layers=1)
    assert isinstance(net.projection, torch.nn.Linear)
    received: list[torch.Tensor] = []
    net.layers[0].register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    net.encode(TOKENS, REAL)
    expected = []
    for row in TOKENS.tolist():
        for position, token in enumerate(row):
            if token != PAD:
                assert net.mask is not None
                vector = (
                    net.mask if token == MASK else net.projection.weight @ net.items.weight[token] + net.projection.bias
                )
                expected.append(
                    F.layer_norm(vector + net.positions[position], (8,), net.norm.weight, net.norm.bias, 1e-12)
                )
    torch.testing.assert_close(received[0], torch.stack(expected))


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_layer_is_the_textbook_layer(norm: str) -> None:
    torch.manual_seed(0)
    own = EncoderLayer(8, 2, 12, 0.0, norm)
    theirs = torch.nn.TransformerEncoderLayer(
        8, 2, 12, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True, norm_first=norm == "pre"
    )
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([own.query.weight, own.key_value.weight]),
            "self_attn.in_proj_bias": torch.cat([own.query.bias, own.key_value.bias]),
            **{f"self_attn.out_proj.{kind}": value for kind, value in own.attention_output.state_dict().items()},
            **{f"norm1.{kind}": value for kind, value in own.attention_norm.state_dict().items()},
            **{f"linear1.{kind}": value for kind, value in own.widen.state_dict().items()},
            **{f"linear2.{kind}": value for kind, value in own.narrow.state_dict().items()},
            **{f"norm2.{kind}": value for kind, value in own.feed_forward_norm.state_dict().items()},
        }
    )
    states = torch.randn(3, 4, 8)
    padding = TOKENS == PAD
    theirs.train()  # evaluation takes a shortcut that fills padding with zeros
    expected = theirs(states, src_key_padding_mask=padding).flatten(0, 1)
    layout = Layout.of(REAL, 3, 4)
    torch.testing.assert_close(own(states.flatten(0, 1)[REAL], layout, None, layout), expected[REAL])
    # Only some positions wanted: the same states there.
    wanted = torch.tensor([1, 4, 8, 10])
    chosen = torch.searchsorted(REAL, wanted)
    some = own(states.flatten(0, 1)[REAL], layout, chosen, Layout.of(wanted, 3, 4))
    torch.testing.assert_close(some, expected[wanted])


@pytest.mark.parametrize("head", ["linear", "tied"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_neighbours_and_padding_do_not_matter(head: str, norm: str) -> None:
    net = network(head=head, norm=norm)
    together = net(TOKENS, torch.tensor([1, 4, 9]))
    alone = [net(TOKENS[:1], torch.tensor([1])), net(TOKENS[1:2, :2], torch.tensor([0]))]
    wide = F.pad(TOKENS[2:], (0, 2), value=PAD)
    alone.append(net(wide, torch.tensor([1])))
    assert together.shape == (3, 7)
    torch.testing.assert_close(together, torch.cat(alone))


def test_positions_matter_and_both_sides_are_read() -> None:
    net = network()
    base = net(torch.tensor([[1, MASK, 3]]), torch.tensor([1]))
    assert not torch.allclose(base, net(torch.tensor([[3, MASK, 1]]), torch.tensor([1])))
    assert not torch.allclose(base, net(torch.tensor([[1, MASK, 4]]), torch.tensor([1])))


def test_heads() -> None:
    linear, tied = network(), network(head="tied")
    assert linear.head is not None and isinstance(tied.projection, torch.nn.Linear)
    state = linear.encode(TOKENS, torch.tensor([1]))
    torch.testing.assert_close(linear(TOKENS, torch.tensor([1])), state @ linear.head.weight.T + linear.head.bias)
    state = tied.encode(TOKENS, torch.tensor([1]))
    items = tied.items.weight @ tied.projection.weight.T + tied.projection.bias
    torch.testing.assert_close(tied(TOKENS, torch.tensor([1])), state @ items.T)
    some = tied(TOKENS, torch.tensor([1]), torch.tensor([2, 6]))
    torch.testing.assert_close(some, (state @ items.T)[:, [2, 6]])
    assert tied.head is None


def test_items_are_projected_once_or_only_where_used() -> None:
    net = network()
    seen: list[int] = []
    net.projection.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    net(TOKENS, torch.tensor([1]))  # 12 positions, 7 items: all items once
    net(TOKENS[:1], torch.tensor([1]))  # 4 positions: these only
    assert seen == [7, 4]


def test_sequence_is_in_order_of_time_then_track(ten_rows: SplitData, plane: np.ndarray) -> None:
    model = made(BERT4Rec, ten_rows, plane, **SMALL)
    sequences = item_sequences(ten_rows.train, np.arange(4), model.item_index)
    padded = sequences.padded(torch.arange(4), 12)
    # User 20 played 3 and 4 on the same day: lower track first; 2 a day later.
    assert padded.tolist() == [[0, 1, 2], [3, 4, 2], [4, 0, 5], [3, PAD, PAD]]


def test_prediction_reads_the_last_items_and_a_mask(
    ten_rows: SplitData, plane: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[int, list[list[int]]] = {}
    for length in (12, 3):
        model = made(BERT4Rec, ten_rows, plane, predict_len=length, **SMALL)
        encode = model.net.encode

        def spy(
            tokens: torch.Tensor, wanted: torch.Tensor, *rest: Any, length: int = length, encode: Any = encode
        ) -> Any:
            assert (tokens.flatten()[wanted] == MASK).all()
            read[length] = tokens.tolist()
            return encode(tokens, wanted, *rest)

        monkeypatch.setattr(model.net, "encode", spy)
        model.recommend(np.array([1, 3]), 2)
    assert read[12] == [[3, MASK, PAD, PAD], [3, 4, 2, MASK]]
    assert read[3] == [[3, MASK, PAD], [4, 2, MASK]]


def test_scores_are_the_logits(ten_rows: SplitData, plane: np.ndarray) -> None:
    for head in ("linear", "tied"):
        model = made(BERT4Rec, ten_rows, plane, head=head, **SMALL).eval()
        users, items = model.user_vectors(), model.item_vectors()
        assert users.shape == (4, 9 if head == "linear" else 8) and np.isnan(items[6]).all()
        with torch.no_grad():
            logits = model.net(torch.tensor([[4, 0, 5, MASK]]), torch.tensor([3]))[0]
        np.testing.assert_allclose(users[2] @ items[:6].T, logits, atol=1e-5)
        ids, scores = model.recommend(np.array([2]), 3)
        allowed = [1, 2, 3]
        assert ids[0].tolist() == sorted(allowed, key=lambda item: -logits[item])
        np.testing.assert_allclose(scores[0], sorted(logits[allowed].tolist(), reverse=True), atol=1e-5)


def test_loss_is_the_cross_entropy_at_the_masked_positions(ten_rows: SplitData, plane: np.ndarray) -> None:
    model = made(BERT4Rec, ten_rows, plane, **SMALL).eval()
    batch = batch_of(model)
    loss, size = model.loss(batch)
    masks = torch.arange(batch.tokens.numel())[(batch.tokens == MASK).flatten()]
    logits = model.net(batch.tokens, masks).detach()
    chosen = zip(logits, batch.targets, strict=True)
    by_hand = [-math.log(math.exp(row[target]) / row.exp().sum()) for row, target in chosen]
    assert size == len(batch.targets)
    assert loss.item() == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_validation_masks_the_held_out_rows(many: SplitData, audio: np.ndarray) -> None:
    model = made(BERT4Rec, many, audio, **SMALL, mlm_probability=0.5)
    source = model.sources()[1]
    assert isinstance(source, MaskedSource) and len(source.sequences) == 10
    batch = batch_of(model, 1)
    frame = many.truth["val"]
    held = frame[frame["user_id"] == 4].sort_values(["timestamp", "track_id"])["track_id"].to_numpy()
    row = batch.tokens[4]
    known = row != MASK
    assert torch.equal(row[known], torch.from_numpy(model.item_index[held])[known])
    assert model.monitor == "val/loss"


def test_validation_without_long_users_is_the_next_track(ten_rows: SplitData, plane: np.ndarray) -> None:
    later = rows((10, 4, 405, 1), (10, 5, 404, 1), (50, 1, 1, 1))  # a later one, and a user nobody knows
    data = replace(ten_rows, truth={**ten_rows.truth, "val": pd.concat([VAL, later])})
    model = made(BERT4Rec, data, plane, **SMALL)
    assert isinstance(model.sources()[1], NextSource)
    batch = batch_of(model, 1)
    assert batch.tokens.tolist() == [[0, 1, 2, MASK], [3, 4, 2, MASK]]
    assert batch.targets.tolist() == [3, 0]


def test_without_validation_users_training_loss_decides(
    ten_rows: SplitData, plane: np.ndarray, fit: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    model = made(BERT4Rec, replace(ten_rows, truth={"val": VAL[:0], "test": VAL[:0]}), plane, **SMALL)
    assert model.monitor == "train/loss" and "no validation users" in caplog.text
    assert set(fit(model, 2).callback_metrics) == {"train/loss"}


def test_max_seq_len_batch_size_and_mlm_probability(many: SplitData, audio: np.ndarray) -> None:
    model = made(BERT4Rec, many, audio, **{**SMALL, "max_seq_len": 5}, batch_size=7, mlm_probability=1.0)
    batch = batch_of(model)
    assert batch.tokens.shape == (7, 5) and (batch.tokens == MASK).sum() == len(batch.targets) > 20
    assert model.net.positions.shape == (5, 8)


def test_sizes(ten_rows: SplitData, plane: np.ndarray) -> None:
    model = made(
        BERT4Rec, ten_rows, plane, hidden_size=8, num_hidden_layers=3, num_attention_heads=4, intermediate_size=20
    )
    assert len(model.net.layers) == 3 and model.net.layers[0].heads == 4
    assert model.state_dict()["net.layers.2.widen.weight"].shape == (20, 8)
    assert model.net.projection.weight.shape == (8, 2)
    same = made(BERT4Rec, ten_rows, plane, hidden_size="same", head="tied")
    assert isinstance(same.net.projection, torch.nn.Identity) and same.net.positions.shape == (200, 2)


@pytest.mark.parametrize(
    ("options", "learnt", "projected"),
    [
        ({}, False, True),
        ({"item_freeze": False}, True, False),
        ({"item_freeze": False, "hidden_size": 4}, True, True),
        ({"embedding_trainable": True}, True, False),
        ({"hidden_size": "same", "head": "tied"}, False, False),
    ],
)
def test_frozen_items_stay_and_are_nowhere_saved(
    many: SplitData,
    audio: np.ndarray,
    fit: Callable[..., Any],
    tmp_path: Path,
    options: dict,
    learnt: bool,
    projected: bool,
) -> None:
    model = made(BERT4Rec, many, audio, lr=0.01, **{**SMALL, **options})
    before = model.net.items.weight.clone()
    trainer = fit(model, 1)
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    optimised = {id(weight) for group in trainer.optimizers[0].param_groups for weight in group["params"]}
    assert ("net.items.weight" in saved) == learnt == (id(model.net.items.weight) in optimised)
    assert torch.equal(before, model.net.items.weight) != learnt
    assert ("net.projection.weight" in saved) == projected


def test_learnt_random_items_start_at_the_scale_of_bert(many: SplitData, audio: np.ndarray) -> None:
    model = made(BERT4Rec, many, audio * 30, embedding_trainable=True, **SMALL)
    assert model.net.items.weight.std().item() == pytest.approx(0.02, rel=1e-3)
    assert torch.equal(
        made(BERT4Rec, many, audio, item_freeze=False, **SMALL).net.items.weight, torch.from_numpy(audio)
    )


def test_units_of_a_frozen_embedding_do_not_matter(many: SplitData, audio: np.ndarray) -> None:
    units = np.array([1, 1e-3, 1e3, 5, 1, 1, 1, 1], dtype=np.float32)
    plain, other = made(BERT4Rec, many, audio, **SMALL), made(BERT4Rec, many, audio * units + 7, **SMALL)
    vectors = plain.net.items.weight
    torch.testing.assert_close(other.net.items.weight, vectors, atol=1e-2, rtol=0)
    torch.testing.assert_close(vectors.mean(dim=0), torch.zeros(8), atol=1e-6, rtol=0)
    assert vectors.square().sum(dim=1).mean().item() == pytest.approx(1, rel=1e-4)
    constant = standardised(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert constant.tolist() == [[-1, 0], [1, 0]]
    as_given = made(BERT4Rec, many, audio, **{**SMALL, "hidden_size": "same"})
    assert torch.equal(as_given.net.items.weight, torch.from_numpy(audio))


def with_cold_track(data: SplitData) -> SplitData:
    """Returns the ten rows with track 6, which nobody played, as a cold one."""
    return replace(data, cold=np.array([6]))


@pytest.mark.parametrize("softmax", ["full", "sampled"])
def test_cold_tracks_take_no_part_in_training(ten_rows: SplitData, plane: np.ndarray, softmax: str) -> None:
    options = {**SMALL, "head": "tied", "softmax": softmax, "softmax_samples": 50}
    without = made(BERT4Rec, ten_rows, plane, **options)
    cold = made(BERT4Rec, with_cold_track(ten_rows), plane, **options)
    losses = []
    for model in (without, cold):
        torch.manual_seed(0)
        losses.append(model.train().loss(batch_of(model))[0].item())
    assert losses[0] == losses[1]
    assert [name for name, _ in cold.named_parameters()] == [name for name, _ in without.named_parameters()]
    assert len(cold.net.items) == 6 and 6 not in cold.candidates


def test_the_study_trains_with_cold_tracks(ten_rows: SplitData, plane: np.ndarray) -> None:
    given = Inputs(with_cold_track(ten_rows), plane, cold_in_training=True)
    model = BERT4Rec(
        given,
        network=TransformerSettings(hidden_size="same", num_attention_heads=1),
        sequences=SequenceSettings(max_seq_len=4),
        items=ItemSettings(head="tied", item_freeze=False),
    )
    batch = batch_of(model)
    model.train().loss(batch)[0].backward()
    weight = model.net.items.weight
    assert weight.grad is not None and weight.grad.shape == (7, 2) and weight.grad[6].abs().sum() > 0
    assert model.retriever(pool="cold").candidates.tolist() == [6]
    assert model.retriever(pool="warm").candidates.tolist() == [0, 1, 2, 3, 4, 5]


def test_cold_tracks_are_standardised_like_those_of_training(ten_rows: SplitData, plane: np.ndarray) -> None:
    model = made(BERT4Rec, with_cold_track(ten_rows), plane, head="tied", **SMALL)
    warm = torch.from_numpy(plane[:6])
    spread = (warm - warm.mean(dim=0)).square().mean(dim=0).sqrt()
    expected = (torch.tensor([[5.0, 5.0]]) - warm.mean(dim=0)) / spread / 2**0.5
    torch.testing.assert_close(model.cold_items, expected)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_cold(), model.net.projection(expected))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"head": "tied"},
        {"embedding_trainable": True},
        {"norm": "pre"},
        {"hidden_size": "same", "item_freeze": False, "head": "tied"},
        {"softmax": "sampled", "softmax_samples": 40},
        {"softmax": "sampled", "softmax_samples": 40, "head": "tied"},
    ],
)
def test_it_learns_order(options: dict[str, Any]) -> None:
    # 60 users walk round a circle of 12 tracks from a random start: the next one is certain.
    rng = np.random.default_rng(0)
    starts = enumerate(rng.integers(12, size=60).tolist())
    walks = [(user, (start + step) % 12, step, 1) for user, start in starts for step in range(4 + user % 6)]
    data = SplitData(Interactions.from_frame(rows(*walks), num_tracks=12), {"val": VAL[:0], "test": VAL[:0]})
    embedding = rng.normal(size=(12, 32)).astype(np.float32)
    model = made(
        BERT4Rec, data, embedding, **{**SMALL, "hidden_size": 32, "dropout": 0.0, "lr": 0.01, **options}
    ).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    source = model.sources()[0]
    for epoch in range(120):
        loss, _ = model.loss(source.batch(BatchKey(source, epoch, 0, 0, 1), CPU))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Position 9 never stood in training: leave out the longest walks.
    users = np.flatnonzero(np.diff(data.train.offsets) < 9)
    last = data.train.items[data.train.offsets[users + 1] - 1]
    assert (model.recommend(users, 1)[0][:, 0] == (last + 1) % 12).mean() > 0.75


def test_same_seed_same_numbers_and_resume_is_exact(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any], tmp_path: Path
) -> None:
    options: dict[str, Any] = {**SMALL, "lr": 0.02, "batch_size": 16, "lr_patience": 0, "dropout": 0.3}
    whole, again, part, rest, other = (made(BERT4Rec, many, audio, **options, seed=seed) for seed in (4, 4, 4, 4, 5))
    fit(whole, 5, "whole")
    torch.manual_seed(123)
    fit(again, 5, "again")
    fit(part, 2, "part")
    fit(rest, 5, "rest", resume=str(tmp_path / "part" / "last.ckpt"))
    fit(other, 1, "other")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        assert torch.equal(weight, rest.state_dict()[name])
    assert not torch.equal(whole.net.positions, other.net.positions)


def test_user_without_embedded_tracks(ten_rows: SplitData, plane: np.ndarray, fit: Callable[..., Any]) -> None:
    plane[3] = np.nan
    data = replace(ten_rows, train=ten_rows.train.without_items(np.isnan(plane).any(axis=1)))
    model = made(BERT4Rec, data, plane, **SMALL)
    fit(model, 1)
    assert model.recommend(np.array([3, 1]), 3)[0][0].tolist() == [-1, -1, -1]
    assert np.isnan(model.user_vectors()[3]).all() and np.isfinite(model.user_vectors()[:3]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_attention_heads": 3}, "a divisor of the hidden size 256"),
        ({"hidden_size": "big"}, "must be a whole number from 1 to 1,000,000 or same"),
        ({"head": "none"}, "linear or tied"),
        ({"norm": "none"}, "post or pre"),
        ({"mlm_probability": 0}, "above 0 and at most 1"),
        ({"predict_len": 201}, "between 2 and max_seq_len = 200"),
        ({"max_seq_len": 1}, "a whole number from 2"),
        ({"dropout": 1.0}, "below 1"),
    ],
)
def test_bad_settings(ten_rows: SplitData, plane: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        made(BERT4Rec, ten_rows, plane, **options)


def test_outside_training_the_loss_is_over_all_tracks(many: SplitData, audio: np.ndarray) -> None:
    sampled, full = (made(BERT4Rec, many, audio, softmax=softmax, **SMALL).eval() for softmax in ("sampled", "full"))
    assert torch.equal(sampled.loss(batch_of(sampled))[0], full.loss(batch_of(full))[0])
