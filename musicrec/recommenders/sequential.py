"""SequenceRecommender: what BERT4Rec and SASRec share, a transformer over histories in order of time."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch

from musicrec.columns import TIMESTAMP, TRACK
from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.sequences import MaskedBatch, NextSource, Sequences, asked
from musicrec.data.interactions import Interactions
from musicrec.recommenders.base import Inputs, VectorRecommender, check
from musicrec.recommenders.histories import held_out, item_sequences
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.networks.softmax import cross_entropy, sampled_cross_entropy
from musicrec.recommenders.networks.transformer import INIT_STD, SequenceTransformer
from musicrec.recommenders.trained import TrainedRecommender

log = logging.getLogger(__name__)

# Sequences encoded at once for prediction.
_PREDICT_BATCH = 256


class SequenceRecommender(VectorRecommender, TrainedRecommender):
    """A transformer over the user's tracks in order of time; cross-entropy over the tracks.

    The tracks are read as their embeddings (frozen or learnt, projected to `hidden_size`); without an embedding each
    has a learnt vector of that size.

    Args:
        inputs: split, item embeddings if there are any, seed and training settings. If the embedding is trainable,
            items are learnt whatever `item_freeze` says, and it is brought to the scale of BERT's initial weights.
        max_seq_len: the last so many tracks of a history are used.
        window: of a longer history train on the `last` tracks, or in each epoch on a `random` stretch of it.
        batch_size: sequences per step.
        num_hidden_layers: transformer layers.
        num_attention_heads: must divide the hidden size.
        hidden_size: size of the transformer, to which item vectors are projected; `same` = that of the embedding,
            without projection. Learnt items of that size are not projected either.
        intermediate_size: inner size of the feed-forward parts.
        head: `linear` (an output vector and bias per track) or `tied` (the projected item vectors).
        item_freeze: keep the item vectors as they are.
        predict_len: length of the input for prediction; max_seq_len by default.
        dropout: of vectors and attention.
        norm: layer normalisation `post` or `pre` each sublayer.
        init: initial weights of the layers, `bert` or `xavier`, see `SequenceTransformer`.
        sampled: whether the training loss is against `samples` items rather than the full catalogue.
        samples: items drawn per step.
        search: how lists are found, see `VectorRecommender`.

    Attributes:
        causal: whether a position reads only what came before; else both sides, and a MASK stands for what is asked.
    """

    needs = "ids"
    causal: ClassVar[bool]

    def __init__(
        self,
        inputs: Inputs,
        *,
        max_seq_len: int,
        window: str,
        batch_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        hidden_size: int | str,
        intermediate_size: int,
        head: str,
        item_freeze: bool,
        predict_len: int | None,
        dropout: float,
        norm: str,
        init: str,
        sampled: bool,
        samples: int,
        search: str,
    ):
        super().__init__(inputs, search=search)
        dim = None if self.vectors is None else self.vectors.shape[1]
        size = dim if hidden_size == "same" else hidden_size
        allowed = "a positive number" + ("" if dim is None else " or same")
        check("hidden_size", hidden_size, isinstance(size, int) and size >= 1, allowed)
        assert isinstance(size, int)
        check(
            "num_attention_heads",
            num_attention_heads,
            num_attention_heads >= 1 and size % num_attention_heads == 0,
            f"a divisor of the hidden size {size}",
        )
        check("max_seq_len", max_seq_len, max_seq_len >= 2, "2 or more")
        check("window", window, window in ("last", "random"), "last or random")
        check("batch_size", batch_size, batch_size >= 1, "1 or more")
        check("num_hidden_layers", num_hidden_layers, num_hidden_layers >= 1, "1 or more")
        check("intermediate_size", intermediate_size, intermediate_size >= 1, "1 or more")
        check("head", head, head in ("linear", "tied"), "linear or tied")
        check("norm", norm, norm in ("post", "pre"), "post or pre")
        check("init", init, init in ("bert", "xavier"), "bert or xavier")
        check("dropout", dropout, 0 <= dropout < 1, "at least 0 and below 1")
        longest = max_seq_len if predict_len is None else predict_len
        check("predict_len", predict_len, 2 <= longest <= max_seq_len, f"between 2 and max_seq_len = {max_seq_len}")
        self.max_seq_len = max_seq_len
        self.window = window
        self.batch_size = batch_size
        self.predict_len = longest
        self.sampled = sampled
        self.samples = samples
        frozen = item_freeze and dim is not None and not inputs.embedding_trainable
        project = dim is not None and hidden_size != "same" and (frozen or size != dim)
        with self.seeded():
            self.net = SequenceTransformer(
                EmbeddingTable(self._item_table(size, frozen, project, inputs.embedding_trainable), frozen),
                hidden_size=size,
                project=project,
                layers=num_hidden_layers,
                heads=num_attention_heads,
                intermediate_size=intermediate_size,
                max_seq_len=max_seq_len,
                dropout=dropout,
                head=head,
                norm=norm,
                causal=self.causal,
                init=init,
            )
        # Tracks nobody played (cold ones) are candidates, but not wrong answers in training.
        self.outputs: torch.Tensor | None
        self.played = np.flatnonzero(np.bincount(self.item_index[inputs.data.train.items]))
        outputs = torch.from_numpy(self.played) if len(self.played) < len(self.candidates) else None
        self.register_buffer("outputs", outputs, persistent=False)

    def _item_table(self, size: int, frozen: bool, project: bool, trainable: bool) -> torch.Tensor:
        """Returns the vectors that items start with, (candidates, dim)."""
        if self.vectors is None:
            return torch.nn.init.normal_(torch.empty(len(self.candidates), size), std=INIT_STD)
        vectors = torch.from_numpy(self.vectors.copy())
        if trainable and float(vectors.std()) > 0:
            vectors *= INIT_STD / vectors.std()
        elif frozen and project:
            vectors = standardised(vectors)
        return vectors

    @abstractmethod
    def train_source(self) -> BatchSource:
        """Returns the batches of training."""

    def sources(self) -> tuple[BatchSource, BatchSource | None]:
        """Returns the batches of training, and those that `val/loss` is computed from."""
        source = self.train_source()
        users, offsets, items = self._held_out()
        return source, self.val_source(users, offsets, items)

    def val_source(self, users: np.ndarray, offsets: np.ndarray, items: np.ndarray) -> BatchSource | None:
        """Returns the first held-out track of each user as what follows their history; None without such users.

        Args:
            users: (users,) indices in user_ids.
            offsets: (users + 1,) user i's held-out tracks are items[offsets[i]:offsets[i + 1]].
            items: the tracks in order of time, as indices of candidates.
        """
        known = np.diff(self.data.train.offsets)[users] > 0
        if not known.any():
            log.warning("there are no validation users: the training loss decides when to stop")
            return None
        return NextSource(
            item_sequences(self.data.train, users[known], self.item_index),
            items[offsets[:-1][known]],
            max_seq_len=self.max_seq_len,
            batch_size=self.batch_size,
            mask=not self.causal,
        )

    def _held_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the arguments of `val_source`."""
        users, frame = held_out(self.data.truth["val"], self.data.train, self.item_index)
        order = np.lexsort((frame[TRACK].to_numpy(), frame[TIMESTAMP].to_numpy(), users))
        items = self.item_index[frame[TRACK].to_numpy(np.int64)[order]]
        distinct, counts = np.unique(users, return_counts=True)
        return distinct, np.concatenate([[0], np.cumsum(counts)]), items

    def active_sequences(self, least: int = 1) -> Sequences:
        """Returns the training histories of users with at least so many tracks."""
        train = self.data.train
        return item_sequences(train, np.flatnonzero(np.diff(train.offsets) >= least), self.item_index)

    def loss(self, batch: MaskedBatch) -> tuple[torch.Tensor, int]:
        """Returns the cross-entropy at the positions where something is predicted, and their number."""
        if self.training and self.sampled:
            return self._sampled_loss(batch), len(batch.targets)
        states, weight, bias = self.net.states_and_outputs(batch.tokens, batch.masked, self.outputs)
        targets = batch.targets if self.outputs is None else torch.searchsorted(self.outputs, batch.targets)
        return cross_entropy(states, weight, bias, targets), len(targets)

    def _sampled_loss(self, batch: MaskedBatch) -> torch.Tensor:
        states = self.net.encode(batch.tokens, batch.masked)
        size = len(self.candidates) if self.outputs is None else len(self.outputs)
        drawn = torch.randint(size, (self.samples,), device=states.device)
        if self.outputs is not None:
            drawn = self.outputs[drawn]
        return sampled_cross_entropy(states, batch.targets, drawn, size, self.net.output_rows)

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the states that predict what follows; with a bias, also a 1 that it is multiplied by."""
        sequences = item_sequences(history, users, self.item_index).to(self.home)
        # Sequences of similar length go together, so that little is padded.
        order = torch.argsort(sequences.lengths, stable=True)
        size = self.net.positions.shape[1]
        states = torch.empty((len(users), size), device=self.home)
        for which in order.split(_PREDICT_BATCH) if len(users) else ():
            tokens, positions = asked(sequences, which, self.predict_len, mask=not self.causal)
            states[which] = self.net.encode(tokens, positions).float()
        if self.net.output_vectors()[1] is not None:
            states = torch.cat([states, torch.ones_like(states[:, :1])], dim=1)
        return states

    def encode_items(self) -> torch.Tensor:
        """Returns the output vectors, the bias (if there is one) as a further dimension."""
        weight, bias = self.net.output_vectors()
        return (weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)).float()


def standardised(vectors: torch.Tensor) -> torch.Tensor:
    """Returns (items, dim) with mean 0 and equal spread in every dimension and a mean square length of 1.

    The projection that follows can undo it, so the network expresses the same; but then its initial outputs have the
    scale of BERT's initial vectors, whatever the units of the embedding are, and training starts at once.
    """
    centred = vectors - vectors.mean(dim=0)
    spread = centred.square().mean(dim=0).sqrt()
    scaled = torch.where(spread > 1e-6 * spread.max(), centred / spread, 0)
    return scaled / max(1, int((spread > 1e-6 * spread.max()).sum())) ** 0.5
