"""Bimodal: audio and listening aligned in one space by a contrastive loss."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import nn

from musicrec.data.batches.base import BatchKey, BatchSource
from musicrec.data.interactions import Interactions
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Inputs, VectorRecommender
from musicrec.recommenders.baselines.elsa import ELSA
from musicrec.recommenders.baselines.played import Played
from musicrec.recommenders.histories import held_out, mean_of_items
from musicrec.recommenders.inputs import Training
from musicrec.recommenders.networks.adapter import standardised
from musicrec.recommenders.networks.contrastive import contrastive
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.recommenders.trained import TrainedRecommender
from musicrec.values import Dropout, Positive, Size

log = logging.getLogger(__name__)

OUTPUTS = ("content", "collaborative", "average")
# Options of the ELSA that is trained in memory: those of conf/recommender/elsa.yaml.
ELSA_DEFAULTS = {"factors": 768, "batch_size": 128, "shuffle": True, "lr": 0.1, "max_epochs": 10}


class Bimodal(VectorRecommender, TrainedRecommender):
    """Two towers bring a track's audio and its ELSA vector to the same place; one of them, or both, rank the tracks.

    "Adopting State-of-the-Art Pretrained Audio Representations for Music Recommender Systems" (arXiv 2604.23077). Each
    tower is Linear + ReLU + Linear. The loss (see `contrastive`) compares their outputs, scaled to length 1, among the
    tracks of a batch. A user is the mean of the vectors of his or her tracks, as in KNN.

    Batches are made of the tracks of train. `val/loss` is the loss of the same tracks without dropout, for none is held
    out: let lists of the val users choose the epoch (`monitor=val/ndcg@50`, the default).

    Args:
        inputs: split, item embeddings, seed, training settings and the trained ELSA as `companion`.
        output: which vectors rank: those of the audio tower (`content`), of the other (`collaborative`), or the mean of
            both (`average`). Cold tracks have `content` alone, so `collaborative` has no lists of them.
        loss: `adcl`, `dcl` or `infonce`.
        temperature: that inner products are divided by.
        symmetric: add the loss from the listening side to audio; False: only from audio to listening, as the study does
            with `adcl`.
        hidden_dim: size of both layers of both towers.
        dropout: of the hidden layers, in training.
        standardise: give the towers vectors with mean 0 and variance 1 in every dimension (statistics of train); False,
            as in the study.
        normalise_outputs: rank by vectors of length 1, as they were in training; False: by the towers' outputs as they
            are, as the study does.
        elsa: options of the ELSA that is trained before; they matter here only where `inputs` has none.
        batch_size: tracks per step, each of which has the others for negatives.
        search: how lists are found, see `VectorRecommender`.
    """

    table = "bimodal"
    title = "Bimodal"
    companion = "elsa"

    def __init__(
        self,
        inputs: Inputs,
        *,
        output: Literal["content", "collaborative", "average"] = "content",
        loss: Literal["adcl", "dcl", "infonce"] = "adcl",
        temperature: Positive = 0.1,
        symmetric: bool = True,
        hidden_dim: Size = 768,
        dropout: Dropout = 0.0,
        standardise: bool = True,
        normalise_outputs: bool = True,
        elsa: Mapping[str, Any] | None = None,
        batch_size: Annotated[int, Ge(2), Le(1_000_000_000)] = 10_000,
        search: SearchName = "auto",
    ):
        super().__init__(inputs, search=search)
        # One comparison table per output, so that one run does not hide another.
        self.table, self.title = f"{type(self).table}_{output}", f"{type(self).title} {output}"  # type: ignore[misc]
        self.output = output
        self.kind = loss
        self.temperature = temperature
        self.symmetric = symmetric
        self.normalise_outputs = normalise_outputs
        self.batch_size = batch_size
        played = Played.of(inputs.data.train, self.item_index)
        if len(played) < 2:
            raise MusicrecError("bimodal needs two tracks to tell apart, but train has one with an embedding")
        companion = _trained(inputs, elsa or {}) if inputs.companion is None else inputs.companion
        if not isinstance(companion, ELSA):
            raise MusicrecError(f"bimodal needs an ELSA, but was given {type(companion).__name__}")
        listening = companion.item_weights()[self.candidates[played.items]]
        assert self.cold_vectors is not None
        audio = np.concatenate([self.embeddings, self.cold_vectors])
        if standardise:
            audio = standardised(audio, played.items)
            listening = standardised(listening, np.arange(len(listening)))
        tables = [*np.split(audio, [len(self.candidates)]), listening]
        self.items, self.cold_items, self.listening = (
            EmbeddingTable(torch.from_numpy(rows.copy()), frozen=True) for rows in tables
        )
        self.register_buffer("trained_on", torch.from_numpy(played.items), persistent=False)
        with self.seeded():
            self.content, self.collaborative = (
                nn.Sequential(
                    nn.Linear(table.shape[1], hidden_dim),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(hidden_dim, hidden_dim),
                )
                for table in (audio, listening)
            )

    trained_on: torch.Tensor

    def sources(self) -> tuple[BatchSource, BatchSource | None]:
        """Returns the tracks of train, shuffled, and for validation in their order if there are val users."""
        options = {"size": len(self.trained_on), "batch_size": self.batch_size, "seed": self.seed}
        source = _Rows(**options, shuffle=True)
        users, _ = held_out(self.data.truth["val"], self.data.train, self.item_index)
        if not len(users):
            log.warning("there are no validation users: the training loss decides when to stop")
            return source, None
        return source, _Rows(**options, shuffle=False)

    def loss(self, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Returns the loss of audio to listening, plus that of the other direction if symmetric; and the tracks."""
        audio = F.normalize(self.content(self.items.weight[self.trained_on[batch]]).float(), dim=-1)
        listening = F.normalize(self.collaborative(self.listening.weight[batch]).float(), dim=-1)
        loss = contrastive(audio, listening, self.kind, self.temperature)
        if self.symmetric:
            loss = loss + contrastive(listening, audio, self.kind, self.temperature)
        return loss, len(batch)

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the means of the vectors of the users' tracks."""
        vectors, index = self.encode_items(), self.heard_index(history, users)
        if index is None:
            index = self.item_index
        else:
            vectors = torch.cat([vectors, self.encode_cold()])
        return torch.from_numpy(mean_of_items(vectors.cpu().numpy(), index, history, users)).to(self.home)

    def encode_items(self) -> torch.Tensor:
        """Returns the vectors of `output`; tracks that nobody played have those of the audio tower."""
        content = self._scaled(self.content(self.items.weight))
        if self.output == "content":
            return content
        listening = self._scaled(self.collaborative(self.listening.weight))
        if self.output == "average":
            listening = self._scaled((content[self.trained_on] + listening) / 2)
        return content.index_copy(0, self.trained_on, listening)

    @property
    def cold_obstacle(self) -> str | None:
        """Returns why cold tracks cannot be recommended by their listening side: they have none."""
        if self.output == "collaborative":
            return "nobody has played them; use recommender.output=content or average"
        return None

    @property
    def heard_obstacle(self) -> str | None:
        """Returns why cold tracks cannot be heard: the same as why they cannot be recommended."""
        return self.cold_obstacle

    def encode_cold(self) -> torch.Tensor:
        """Returns the vectors of the audio tower for the cold tracks."""
        return self._scaled(self.content(self.cold_items.weight))

    def _scaled(self, vectors: torch.Tensor) -> torch.Tensor:
        return F.normalize(vectors.float(), dim=-1) if self.normalise_outputs else vectors.float()


class _Rows(BatchSource):
    """Batches of row numbers."""

    def make(self, examples: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Returns the numbers themselves."""
        return examples


def _trained(inputs: Inputs, options: Mapping[str, Any]) -> ELSA:
    """Returns an ELSA trained on the same split with the same seed, in memory, without validation.

    train.py trains it as a run of its own instead, whose best epoch counts.

    Args:
        inputs: of the Bimodal.
        options: those of `recommender=elsa` that differ from its defaults.
    """
    chosen = {key: options.get(key, default) for key, default in ELSA_DEFAULTS.items()}
    training = Training(partial(torch.optim.NAdam, lr=chosen.pop("lr")), scheduler=None)
    epochs = chosen.pop("max_epochs")
    model = ELSA(replace(inputs, item_embeddings=None, training=training), **chosen)
    optimizer = training.optimizer(list(model.parameters()))
    source, _ = model.sources()
    for epoch in range(epochs):
        for number in range(len(source)):
            optimizer.zero_grad()
            model.loss(source.batch(BatchKey(source, epoch, number, 0, 1), model.home))[0].backward()
            optimizer.step()
    return model
