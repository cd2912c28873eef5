"""Given: what a run is made from, its name, and the answer of a run that is finished already.

Neither torch nor Lightning is imported here, nor the class of the recommender: a finished run answers without them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicrec.config import option
from musicrec.data.interactions import SplitData
from musicrec.embeddings.tables.transforms import prepared
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError, demand
from musicrec.evaluation import run_scores
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.truth import VAL
from musicrec.files import file_hash
from musicrec.sweeps.current import record_job
from musicrec.training.run import INPUTS, Run, input_hashes, is_main_process
from musicrec.training.run_name import NO_EMBEDDING, run_name, settings
from musicrec.training.run_record import RunRecord
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicrec.embeddings.base import Embedding
    from musicrec.recommenders.trained import TrainedRecommender

log = logging.getLogger(__name__)

_MAX_SHOWN = 20


@dataclass(frozen=True)
class Given:
    """What a run is made from.

    Attributes:
        cfg: the composed configuration, with `run_name`: loggers and callbacks refer to it.
        settings: what of it decides the run's numbers.
        inputs: hashes of what the run reads.
        output: where the run's files go.
        tracks: the track index.
        data: the splits, without the histories of tracks that have no vector.
        embedding: what the recommender is given.
        vectors: (tracks, dim) as the recommender reads them.
        companion: the model of the run that was trained for it, see `musicrec.training.companion`.
    """

    cfg: DictConfig
    settings: dict[str, Any]
    inputs: dict[str, Any]
    output: Workspace
    tracks: TrackIndex
    data: SplitData
    embedding: Embedding
    vectors: np.ndarray
    companion: TrainedRecommender | None = None

    @classmethod
    def of(
        cls,
        cfg: DictConfig,
        workspace: Workspace,
        tracks: TrackIndex,
        data: SplitData,
        embedding: Embedding,
        companion: TrainedRecommender | None = None,
        files: Mapping[str, Path] | None = None,
    ) -> Given:
        """Returns what the run described by a configuration is made from.

        Args:
            cfg: the composed configuration, with the embedding that the recommender reads; it is not changed.
            workspace: has the splits and the embedding.
            tracks: the track index.
            data: the splits.
            embedding: what the recommender is given.
            companion: the model of the run that was trained for it.
            files: what the recommender reads besides, see `Recommender.files_read`.

        Raises:
            MusicrecError: an embedding that does not fit the tracks or has no usable row.
        """
        top_k = cfg.eval.top_k
        demand("eval.top_k", top_k, type(top_k) is int and top_k >= 1, "a whole number from 1")
        chosen, named = settings(cfg, read=True), cfg.copy()
        named.run_name = run_name(cfg, chosen, read=True)
        vectors = embedding.table(workspace, tracks)
        data = _usable(data, vectors, embedding, workspace)
        inputs = input_hashes(workspace, tracks, vectors)
        if companion is not None:
            inputs[type(companion).__name__] = _weights_hash(companion)
        if files:
            inputs["files"] = {name: file_hash(path) for name, path in files.items() if path.is_file()}
        options = VectorOptions.of(cfg.embedding)
        others = np.union1d(data.train.candidates, data.cold)
        vectors = prepared(vectors, data.train.items, others, options, int(cfg.seed), str(cfg.embedding.name))
        Cutoffs.of(cfg.eval.k).check(data.truth)
        return cls(named, chosen, inputs, _output(cfg), tracks, data, embedding, vectors, companion)

    def find(self, overwrite: bool) -> Run:
        """Returns the run with what is known of an earlier attempt.

        Args:
            overwrite: an earlier attempt does not count.

        Raises:
            MusicrecError: if a run of that name has other settings and is not to be overwritten.
        """
        name = str(self.cfg.run_name)
        return Run.find(name, str(self.cfg.recommender.name), self.output, self.settings, self.inputs, overwrite)

    def answer(self, run: Run) -> float | None:
        """Returns the val NDCG@k of a run that was finished before; scores it again where its metrics are damaged."""
        if not is_main_process():
            return None
        record_job(run=run.name)
        log.info("%s is already finished; set overwrite=true to rerun it", run.name)
        run_scores.complete_metrics(self.output, run.name, self.data, Cutoffs.of(self.cfg.eval.k))
        return self.report(run)

    def report(self, run: Run) -> float | None:
        """Logs the final means of a run; returns the val NDCG@k, None without val users."""
        return run_scores.report(self.output, run.name, self.data, Cutoffs.of(self.cfg.eval.k).at(VAL))


def as_finished(cfg: DictConfig) -> DictConfig | None:
    """Returns the configuration with the embedding that its run was finished with, None if there is no such run.

    Which embedding a recommender reads is up to its class, and so is the run's name (`without_unread_embedding`). The
    record of a finished run tells it without importing that class, which takes seconds. A run with inputs of its own
    kind (a companion, files) is left to its class, and so is one with another class than its name stands for.

    Args:
        cfg: the composed configuration.
    """
    usual = option("recommender", str(cfg.recommender.name)).get("_target_")
    if cfg.overwrite or cfg.recommender.get("_target_") != usual:  # a class of the user's is checked first
        return None
    without = cfg.copy()
    without.embedding = option("embedding", NO_EMBEDDING)
    for candidate in (cfg, without):
        chosen = settings(candidate, read=True)
        record = RunRecord.read(_output(cfg).run_record(run_name(candidate, chosen, read=True)))
        known = record is not None and record.status == "finished" and record.settings == chosen
        # A recommender that may do without an embedding reads the one that it is given.
        if known and record is not None and (candidate is cfg or record.reads_embedding is False):
            return candidate if record.inputs.keys() <= INPUTS else None
    return None


def _weights_hash(model: TrainedRecommender) -> str:
    """Returns a hash of the weights of a model."""
    digest = hashlib.blake2b(digest_size=8)
    for _, weight in sorted(model.state_dict().items()):
        digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()


def _output(cfg: DictConfig) -> Workspace:
    return Workspace(Path(str(cfg.paths.output)).expanduser())


def _usable(data: SplitData, vectors: np.ndarray, embedding: Embedding, workspace: Workspace) -> SplitData:
    """Returns the splits without the histories of tracks that have no vector.

    Raises:
        MusicrecError: if no track is left.
    """
    missing = ~np.isfinite(vectors).all(axis=1)
    usable = data.without_items(missing)
    if not len(usable.train.candidates):
        raise MusicrecError(f"no track of {workspace.split('train')} has a row in embedding={embedding.name}")
    if missing.any():
        log.info("%d tracks without an embedding are left out of histories and recommendations", missing.sum())
    infinite = np.flatnonzero(np.isinf(vectors).any(axis=1))
    if len(infinite):
        log.warning(
            "%d of them have infinite values in embedding=%s: track idx %s",
            *(
                len(infinite),
                embedding.name,
                ", ".join(map(str, infinite[:_MAX_SHOWN])) + "…" * (len(infinite) > _MAX_SHOWN),
            ),
        )
    return usable
