"""BERT4Rec: the next track of a history, as the word at a mask."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Le

from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.sequences import MaskedSource, Sequences
from musicrec.recommenders.base import Inputs
from musicrec.recommenders.networks.adapter import AudioSettings
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.recommenders.sequence_settings import ItemSettings, SequenceSettings, TransformerSettings
from musicrec.recommenders.sequential import SequenceRecommender
from musicrec.values import Count

log = logging.getLogger(__name__)

# Held-out rows a user needs for the masked validation loss (the study's choice).
_MIN_VAL_ROWS = 10


class BERT4Rec(SequenceRecommender):
    """Transformer over the user's tracks in order of time, trained to guess masked ones; cross-entropy.

    Sun et al., "BERT4Rec" (CIKM 2019, arXiv 1904.06690), over pretrained audio embeddings as in "Comparative Analysis
    of Pretrained Audio Representations in Music Recommender Systems" (arXiv 2409.08987), section 3.

    `val/loss` is the masked loss on the held-out rows of validation users with at least ten of them. If there is no
    such user (always so with `data.split=leave_one_out`), it is the cross-entropy of each user's first held-out track
    at a mask appended to their training history.

    Args:
        inputs: split, item embeddings if there are any (else a vector per track is learnt), seed and training settings.
            If the embedding is trainable, items are learnt whatever `item_freeze` says, and the embedding is brought to
            the scale of BERT's initial weights.
        network: sizes and initial weights of the transformer.
        sequences: which part of a history is read (the paper predicts from 50 tracks).
        items: what the tracks are as input and output; the study ties the head.
        mlm_probability: of masking a position.
        audio: adapter and free vectors of the tracks.
        batch_size: sequences per step.
        softmax: training loss over the `full` catalogue (exact, in blocks) or against `sampled` items; `val/loss` is
            always over the full one.
        softmax_samples: items drawn per step by `softmax: sampled`.
        search: how lists are found, see `VectorRecommender`.
    """

    table = "bert"
    title = "BERT4Rec"
    causal = False

    def __init__(
        self,
        inputs: Inputs,
        *,
        network: TransformerSettings = TransformerSettings(),
        sequences: SequenceSettings = SequenceSettings(),
        items: ItemSettings = ItemSettings(),
        audio: AudioSettings = AudioSettings(),
        mlm_probability: Annotated[float, Gt(0), Le(1)] = 0.2,
        batch_size: Count = 128,
        softmax: Literal["full", "sampled"] = "full",
        softmax_samples: Count = 4096,
        search: SearchName = "auto",
    ):
        super().__init__(
            inputs,
            network=network,
            sequences=sequences,
            items=items,
            audio=audio,
            batch_size=batch_size,
            sampled=softmax == "sampled",
            samples=softmax_samples,
            search=search,
        )
        self.mlm_probability = mlm_probability

    def train_source(self) -> BatchSource:
        """Returns masked training histories."""
        return self._masked(self.active_sequences(), shuffle=True, window=self.window)

    def val_source(self, users: np.ndarray, offsets: np.ndarray, items: np.ndarray) -> BatchSource | None:
        """Returns the masked held-out tracks of users with many, else what follows the users' histories."""
        counts = np.diff(offsets)
        many = counts >= _MIN_VAL_ROWS
        if many.any():
            rows = items[np.repeat(many, counts)]
            return self._masked(Sequences(rows, np.concatenate([[0], np.cumsum(counts[many])])), shuffle=False)
        if len(users):
            log.info("no validation user has %d held-out tracks: val/loss is that of the next track", _MIN_VAL_ROWS)
        return super().val_source(users, offsets, items)

    def _masked(self, sequences: Sequences, shuffle: bool, window: str = "last") -> MaskedSource:
        return MaskedSource(
            sequences,
            max_seq_len=self.max_seq_len,
            mlm_probability=self.mlm_probability,
            batch_size=self.batch_size,
            seed=self.seed,
            shuffle=shuffle,
            window=window,
        )
