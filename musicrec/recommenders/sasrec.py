"""SASRec: the next track after each track of a history."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.sequences import MaskedBatch, NextItemsSource
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Inputs
from musicrec.recommenders.networks.adapter import AudioSettings
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.recommenders.sequence_settings import ItemSettings, SequenceSettings, TransformerSettings
from musicrec.recommenders.sequential import SequenceRecommender
from musicrec.values import Count


class SASRec(SequenceRecommender):
    """Transformer that reads the user's tracks in order of time and predicts, after each of them, the next.

    Kang and McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018, arXiv 1808.09781), with the network of
    BERT4Rec, whose attention here reads only what came before. The loss over all tracks instead of one negative is that
    of Klenitskiy and Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?" (RecSys 2023,
    arXiv 2309.07602).

    `val/loss` is the cross-entropy of each validation user's first held-out track after their training history,
    whatever the training loss.

    Args:
        inputs: split, item embeddings if there are any (else a vector per track is learnt), seed and training settings.
            If the embedding is trainable, items are learnt whatever `item_freeze` says, and the embedding is brought to
            the scale of BERT's initial weights.
        network: sizes and initial weights of the transformer.
        sequences: which part of a history is read.
        items: what the tracks are as input and output; the paper ties the head.
        audio: adapter and free vectors of the tracks.
        batch_size: sequences per step.
        loss: cross-entropy over the `full` catalogue (exact, in blocks) or against `sampled` items with the correction
            for their number; or `binary`, logistic against one track that the user did not play (the paper).
        samples: items drawn per step by `loss: sampled`.
        search: how lists are found, see `VectorRecommender`.

    Raises:
        MusicrecError: if no user played two tracks.
    """

    table = "sasrec"
    title = "SASRec"
    causal = True

    def __init__(
        self,
        inputs: Inputs,
        *,
        network: TransformerSettings = TransformerSettings(dropout=0.2, norm="pre", init="xavier"),
        sequences: SequenceSettings = SequenceSettings(window="random"),
        items: ItemSettings = ItemSettings(),
        audio: AudioSettings = AudioSettings(),
        batch_size: Count = 128,
        loss: Literal["full", "sampled", "binary"] = "full",
        samples: Count = 4096,
        search: SearchName = "auto",
    ):
        super().__init__(
            inputs,
            network=network,
            sequences=sequences,
            items=items,
            audio=audio,
            batch_size=batch_size,
            sampled=loss == "sampled",
            samples=samples,
            search=search,
        )
        self.binary = loss == "binary"
        self.net.sparse = self.row_wise and loss != "full"

    def train_source(self) -> BatchSource:
        """Returns the training histories of two tracks or more."""
        sequences = self.active_sequences(least=2)
        if not len(sequences):
            raise MusicrecError(
                "recommender=sasrec learns what follows a track, but no user has two tracks in training"
            )
        return NextItemsSource(
            sequences,
            max_seq_len=self.max_seq_len,
            batch_size=self.batch_size,
            seed=self.seed,
            window=self.window,
            pool=np.arange(len(self.candidates)) if self.binary else None,
        )

    def loss(self, batch: MaskedBatch) -> tuple[torch.Tensor, int]:
        """Returns the mean loss at the positions where something is predicted, and their number."""
        if not (self.training and self.binary):
            return super().loss(batch)
        assert batch.negatives is not None
        states = self.net.encode(batch.tokens, batch.masked)
        vectors, bias = self.net.output_rows(torch.cat([batch.targets, batch.negatives]))
        scores = (torch.cat([states, states]) * vectors).sum(dim=1).float()
        wanted, unwanted = (scores if bias is None else scores + bias).chunk(2)
        return (F.softplus(-wanted) + F.softplus(unwanted)).mean(), len(batch.targets)
