"""BERT4Rec: the next track of a history, as the word at a mask."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

from musicrec.columns import TIMESTAMP, TRACK
from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.sequences import MaskedBatch, MaskedSource, NextSource, Sequences
from musicrec.data.interactions import Interactions
from musicrec.recommenders.base import Inputs, VectorRecommender, check
from musicrec.recommenders.histories import held_out, item_sequences
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.networks.softmax import cross_entropy, sampled_cross_entropy
from musicrec.recommenders.networks.transformer import INIT_STD, SequenceTransformer
from musicrec.recommenders.trained import TrainedRecommender

log = logging.getLogger(__name__)

# Held-out rows a user needs for the masked validation loss (the study's choice).
_MIN_VAL_ROWS = 10
# Sequences encoded at once for prediction.
_PREDICT_BATCH = 256


class BERT4Rec(VectorRecommender, TrainedRecommender):
    """Transformer over the user's tracks in order of time, trained to guess masked ones; cross-entropy.

    Sun et al., "BERT4Rec" (CIKM 2019, arXiv 1904.06690), over pretrained audio embeddings as in "Comparative Analysis
    of Pretrained Audio Representations in Music Recommender Systems" (arXiv 2409.08987), section 3.

    `val/loss` is the masked loss on the held-out rows of validation users with at least ten of them. If there is no
    such user (always so with `data.split=leave_one_out`), it is the cross-entropy of each user's first held-out track
    at a mask appended to their training history.

    Args:
        inputs: split, item embeddings, seed and training settings. If the embedding is trainable, items are learnt
            whatever `item_freeze` says, and the embedding is brought to the scale of BERT's initial weights.
        max_seq_len: the last so many tracks of a history are used.
        mlm_probability: of masking a position.
        batch_size: sequences per step.
        num_hidden_layers: transformer layers.
        num_attention_heads: must divide the hidden size.
        hidden_size: size of the transformer, to which item vectors are projected; `same` = that of the embedding,
            without projection (the released code). Learnt items of that size are not projected either.
        intermediate_size: inner size of the feed-forward parts.
        head: `linear` (an output vector and bias per track) or `tied` (the projected item vectors; the study).
        item_freeze: keep the item vectors as they are.
        predict_len: length of the input for prediction, its mask included; max_seq_len by default (the paper: 50).
        dropout: of vectors and attention.
        norm: layer normalisation `post` (BERT) or `pre` each sublayer.
        softmax: training loss over the `full` catalogue (exact, in blocks) or against `sampled` items; `val/loss` is
            always over the full one.
        softmax_samples: items drawn per step by `softmax: sampled`.
        search: how lists are found, see `VectorRecommender`.
    """

    table = "bert"
    title = "BERT4Rec"
    cold_items: torch.Tensor

    def __init__(
        self,
        inputs: Inputs,
        *,
        max_seq_len: int = 200,
        mlm_probability: float = 0.2,
        batch_size: int = 128,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 2,
        hidden_size: int | str = 256,
        intermediate_size: int = 256,
        head: str = "linear",
        item_freeze: bool = True,
        predict_len: int | None = None,
        dropout: float = 0.1,
        norm: str = "post",
        softmax: str = "full",
        softmax_samples: int = 4096,
        search: str = "auto",
    ):
        super().__init__(inputs, search=search)
        dim = self.embeddings.shape[1]
        size = dim if hidden_size == "same" else hidden_size
        check("hidden_size", hidden_size, isinstance(size, int) and size >= 1, "a positive number or same")
        check(
            "num_attention_heads",
            num_attention_heads,
            num_attention_heads >= 1 and int(size) % num_attention_heads == 0,
            f"a divisor of the hidden size {size}",
        )
        check("max_seq_len", max_seq_len, max_seq_len >= 2, "2 or more")
        check("mlm_probability", mlm_probability, 0 < mlm_probability <= 1, "above 0 and at most 1")
        check("batch_size", batch_size, batch_size >= 1, "1 or more")
        check("num_hidden_layers", num_hidden_layers, num_hidden_layers >= 1, "1 or more")
        check("intermediate_size", intermediate_size, intermediate_size >= 1, "1 or more")
        check("head", head, head in ("linear", "tied"), "linear or tied")
        check("softmax", softmax, softmax in ("full", "sampled"), "full or sampled")
        check("softmax_samples", softmax_samples, softmax_samples >= 1, "1 or more")
        check("norm", norm, norm in ("post", "pre"), "post or pre")
        check("dropout", dropout, 0 <= dropout < 1, "at least 0 and below 1")
        longest = max_seq_len if predict_len is None else predict_len
        check("predict_len", predict_len, 2 <= longest <= max_seq_len, f"between 2 and max_seq_len = {max_seq_len}")
        self.max_seq_len = max_seq_len
        self.mlm_probability = mlm_probability
        self.batch_size = batch_size
        self.predict_len = longest
        self.softmax = softmax
        self.softmax_samples = softmax_samples
        frozen = item_freeze and not inputs.embedding_trainable
        assert self.cold_vectors is not None
        vectors, cold = torch.from_numpy(self.embeddings.copy()), torch.from_numpy(self.cold_vectors)
        project = hidden_size != "same" and (frozen or int(size) != dim)
        if inputs.embedding_trainable and float(vectors.std()) > 0:
            scale = INIT_STD / vectors.std()
            vectors, cold = vectors * scale, cold * scale
        elif frozen and project:
            vectors, cold = standardised(vectors), standardised(cold, like=vectors)
        with self.seeded():
            self.net = SequenceTransformer(
                EmbeddingTable(vectors, frozen),
                hidden_size=int(size),
                project=project,
                layers=num_hidden_layers,
                heads=num_attention_heads,
                intermediate_size=intermediate_size,
                max_seq_len=max_seq_len,
                dropout=dropout,
                head=head,
                norm=norm,
            )
        self.register_buffer("cold_items", cold, persistent=False)

    @property
    def cold_obstacle(self) -> str | None:
        """Returns why cold tracks cannot be recommended: a linear head has no output vector for them."""
        tied = self.net.head is None
        return (
            None if tied else "its linear head has outputs for the tracks of training only; use recommender.head=tied"
        )

    def sources(self) -> tuple[BatchSource, BatchSource | None]:
        """Returns masked sequences of train, and what `val/loss` is computed from."""
        train = self.data.train
        active = np.flatnonzero(np.diff(train.offsets))
        options: dict[str, Any] = {
            "max_seq_len": self.max_seq_len,
            "mlm_probability": self.mlm_probability,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }
        source = MaskedSource(item_sequences(train, active, self.item_index), shuffle=True, **options)
        users, frame = held_out(self.data.truth["val"], train, self.item_index)
        order = np.lexsort((frame[TRACK].to_numpy(), frame[TIMESTAMP].to_numpy(), users))
        users, items = users[order], self.item_index[frame[TRACK].to_numpy(np.int64)[order]]
        distinct, first, counts = np.unique(users, return_index=True, return_counts=True)
        if (counts >= _MIN_VAL_ROWS).any():
            long = np.repeat(counts >= _MIN_VAL_ROWS, counts)
            offsets = np.concatenate([[0], np.cumsum(counts[counts >= _MIN_VAL_ROWS])])
            return source, MaskedSource(Sequences(items[long], offsets), shuffle=False, **options)
        usable = np.isin(distinct, active)
        if usable.any():
            log.info("no validation user has %d held-out tracks: val/loss is that of the next track", _MIN_VAL_ROWS)
            return source, NextSource(
                item_sequences(train, distinct[usable], self.item_index),
                items[first[usable]],
                max_seq_len=self.max_seq_len,
                batch_size=self.batch_size,
            )
        log.warning("there are no validation users: the training loss decides when to stop")
        return source, None

    def loss(self, batch: MaskedBatch) -> tuple[torch.Tensor, int]:
        """Returns the cross-entropy at the masked positions and their number."""
        if self.training and self.softmax == "sampled":
            return self._sampled_loss(batch), len(batch.targets)
        states, weight, bias = self.net.states_and_outputs(batch.tokens, batch.masked)
        return cross_entropy(states, weight, bias, batch.targets), len(batch.targets)

    def _sampled_loss(self, batch: MaskedBatch) -> torch.Tensor:
        states = self.net.encode(batch.tokens, batch.masked)
        size = len(self.candidates)
        drawn = torch.randint(size, (self.softmax_samples,), device=states.device)
        return sampled_cross_entropy(states, batch.targets, drawn, size, self.net.output_rows)

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the states at a mask after the histories; with a bias, also a 1 that it is multiplied by."""
        sequences = item_sequences(history, users, self.item_index).to(self.home)
        # Sequences of similar length go together, so that little is padded.
        order = torch.argsort(sequences.lengths, stable=True)
        size = self.net.positions.shape[1]
        states = torch.empty((len(users), size), device=self.home)
        for which in order.split(_PREDICT_BATCH) if len(users) else ():
            tokens, masks = sequences.with_mask_at_end(which, self.predict_len)
            rows = torch.arange(len(which), device=self.home)
            states[which] = self.net.encode(tokens, rows * tokens.shape[1] + masks).float()
        if self.net.output_vectors()[1] is not None:
            states = torch.cat([states, torch.ones_like(states[:, :1])], dim=1)
        return states

    def encode_items(self) -> torch.Tensor:
        """Returns the output vectors, the bias (if there is one) as a further dimension."""
        weight, bias = self.net.output_vectors()
        return (weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)).float()

    def encode_cold(self) -> torch.Tensor:
        """Returns the cold tracks as the transformer would read them, which a tied head compares states with."""
        vectors: torch.Tensor = self.net.projection(self.cold_items)
        return vectors.float()


def standardised(vectors: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
    """Returns (items, dim) with mean 0 and equal spread in every dimension and a mean square length of 1.

    The projection that follows can undo it, so the network expresses the same; but then its initial outputs have the
    scale of BERT's initial vectors, whatever the units of the embedding are, and training starts at once.

    Args:
        vectors: (items, dim).
        like: (others, dim) vectors whose mean and spread are used instead of those of `vectors`.
    """
    known = vectors if like is None else like
    mean = known.mean(dim=0)
    centred = vectors - mean
    spread = (known - mean).square().mean(dim=0).sqrt()
    scaled = torch.where(spread > 1e-6 * spread.max(), centred / spread, 0)
    return scaled / max(1, int((spread > 1e-6 * spread.max()).sum())) ** 0.5
