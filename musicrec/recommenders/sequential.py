"""SequenceRecommender: what BERT4Rec and SASRec share, a transformer over histories in order of time."""

from __future__ import annotations

import logging
from abc import abstractmethod
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from musicrec.columns import TIMESTAMP, TRACK
from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.sequences import MaskedBatch, NextSource, Sequences, asked
from musicrec.data.interactions import Interactions
from musicrec.recommenders.base import Inputs, VectorRecommender
from musicrec.recommenders.baselines.played import Played
from musicrec.recommenders.histories import held_out, item_sequences
from musicrec.recommenders.networks.adapter import AudioSettings
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.networks.softmax import cross_entropy, sampled_cross_entropy
from musicrec.recommenders.networks.transformer import INIT_STD, SequenceTransformer
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.recommenders.sequence_settings import ItemSettings, SequenceSettings, TransformerSettings
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
        network: sizes and initial weights of the transformer.
        sequences: which part of a history is read.
        items: what the tracks are as input and output.
        audio: adapter and free vectors of the tracks.
        batch_size: sequences per step.
        sampled: whether the training loss is against `samples` items rather than the full catalogue.
        samples: items drawn per step.
        search: how lists are found, see `VectorRecommender`.

    Attributes:
        causal: whether a position reads only what came before; else both sides, and a MASK stands for what is asked.
    """

    needs = "ids"
    causal: ClassVar[bool]
    cold_items: torch.Tensor

    def __init__(
        self,
        inputs: Inputs,
        *,
        network: TransformerSettings,
        sequences: SequenceSettings,
        items: ItemSettings,
        audio: AudioSettings,
        batch_size: int,
        sampled: bool,
        samples: int,
        search: SearchName,
    ):
        super().__init__(inputs, search=search)
        self.max_seq_len = sequences.max_seq_len
        self.window = sequences.window
        self.predict_len = sequences.longest
        self.batch_size = batch_size
        self.sampled = sampled
        self.samples = samples
        dim = None if self.vectors is None else self.vectors.shape[1]
        size = network.size(dim)
        frozen = items.item_freeze and dim is not None and not inputs.embedding_trainable
        audio = audio if self.vectors is not None else audio.without_embedding()
        project = dim is not None and network.hidden_size != "same" and (frozen or size != dim)
        project = project or audio.adapter == "mlp"
        scaled = frozen and project
        played = Played.of(inputs.data.train, self.item_index).items
        start = partial(_started, scaled=scaled, trainable=inputs.embedding_trainable)
        with self.seeded():
            if self.vectors is None or self.cold_vectors is None:
                vectors = nn.init.normal_(torch.empty(len(self.candidates), size), std=INIT_STD)
                cold = torch.empty(0, 0)
            else:
                prepared = audio.prepared(self.vectors, self.cold_vectors, played)
                vectors, cold = (torch.from_numpy(part.copy()) for part in prepared)
                vectors, cold = start(vectors), start(cold, like=vectors)
            self.net = SequenceTransformer(
                EmbeddingTable(vectors, frozen),
                hidden_size=size,
                project=project,
                layers=network.num_hidden_layers,
                heads=network.num_attention_heads,
                intermediate_size=network.intermediate_size,
                max_seq_len=sequences.max_seq_len,
                dropout=network.dropout,
                head=items.head,
                norm=network.norm,
                causal=self.causal,
                init=network.init,
                audio=audio,
                ids=audio.ids(len(self.candidates), size, played),
            )
        # Of the exact softmax every track has a gradient.
        self.net.sparse = sampled and self.row_wise
        self.register_buffer("cold_items", cold, persistent=False)

    @property
    def cold_obstacle(self) -> str | None:
        """Returns why cold tracks cannot be recommended: nothing says what they are, or no output vector is theirs."""
        if self.vectors is None:
            return "it learns a vector per track of training; choose an embedding and recommender.head=tied"
        if self.net.head is not None:
            return "its linear head has outputs for the tracks of training only; use recommender.head=tied"
        return None

    @property
    def heard_obstacle(self) -> str | None:
        """Returns why cold tracks cannot be heard: without an embedding nothing says what they are."""
        return "it learns a vector per track of training; choose an embedding" if self.vectors is None else None

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
        states, weight, bias = self.net.states_and_outputs(batch.tokens, batch.masked)
        return cross_entropy(states, weight, bias, batch.targets), len(batch.targets)

    def _sampled_loss(self, batch: MaskedBatch) -> torch.Tensor:
        states = self.net.encode(batch.tokens, batch.masked)
        size = len(self.candidates)
        drawn = torch.randint(size, (self.samples,), device=states.device)
        return sampled_cross_entropy(states, batch.targets, drawn, size, self.net.output_rows)

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the states that predict what follows; with a bias, also a 1 that it is multiplied by."""
        vectors, index = None, self.heard_index(history, users)
        if index is None:
            index = self.item_index
        else:
            vectors = torch.cat([self.net.item_vectors(), self.encode_cold()])
        sequences = item_sequences(history, users, index).to(self.home)
        # Sequences of similar length go together, so that little is padded.
        order = torch.argsort(sequences.lengths, stable=True)
        size = self.net.positions.shape[1]
        states = torch.empty((len(users), size), device=self.home)
        for which in order.split(_PREDICT_BATCH) if len(users) else ():
            tokens, positions = asked(sequences, which, self.predict_len, mask=not self.causal)
            states[which] = self.net.encode(tokens, positions, vectors).float()
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


def _started(vectors: torch.Tensor, scaled: bool, trainable: bool, like: torch.Tensor | None = None) -> torch.Tensor:
    """Returns vectors at the scale at which training starts; `like`: those that decide the scale, by default the same.

    A trainable embedding gets the scale of BERT's initial weights; a frozen one that is projected is standardised.
    """
    known = vectors if like is None else like
    if trainable and float(known.std()) > 0:
        return vectors * (INIT_STD / known.std())
    return standardised(vectors, known) if scaled else vectors


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
