"""LoadedRun: a finished run with its model, which recommends to users of the log and to new listeners."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from musicrec.api.embed import audio_path
from musicrec.api.library import Library, Match, how_many, track_list
from musicrec.checks.composition import composition
from musicrec.config import option
from musicrec.data.interactions import SplitData
from musicrec.data.source import DataSource
from musicrec.data.split_files import REMEDY
from musicrec.embeddings.configure import make_embedding, with_checkpoint
from musicrec.embeddings.tables.transforms import prepared
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError, first_line, shown
from musicrec.evaluation.truth import VAL
from musicrec.options import make
from musicrec.recommenders.configure import files_read
from musicrec.training.companion import companion_config, load_companion
from musicrec.training.given import Given
from musicrec.training.model import load_model, with_cold
from musicrec.training.run import Run
from musicrec.training.run_record import RunRecord
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    from musicrec.data.interactions import Interactions
    from musicrec.recommenders.base import Recommender
    from musicrec.recommenders.retrieval.top_k import TopK

log = logging.getLogger(__name__)

# Names that a message about an unknown one lists.
_SHOWN = 5


class LoadedRun:
    """A finished run of train.py; `load_run` makes one.

    Attributes:
        name: of the run.
        library: the tracks, with the vectors that the recommender reads; without columns if it reads none.
    """

    def __init__(self, given: Given, run: Run, library: Library):
        """Stores what the run was made from; the model is loaded when it is asked for.

        Args:
            given: what the run was made from.
            run: the run.
            library: its tracks and vectors.
        """
        self.name = run.name
        self.library = library
        self._given = given
        self._run = run

    def __repr__(self) -> str:
        return f"LoadedRun({self.name!r}: {self.title}, {len(self.users)} users, {len(self.library)} tracks)"

    @cached_property
    def model(self) -> Recommender:
        """Returns the recommender with the weights of its best epoch.

        Raises:
            MusicrecError: its checkpoint is missing or damaged.
        """
        return load_model(self._given, self._run)

    @property
    def title(self) -> str:
        """Returns how tables call the recommender."""
        return self.model.title

    @property
    def users(self) -> list[Any]:
        """Returns the ids of the users of train, int or str as in the log."""
        found: list[Any] = self._given.data.train.user_ids.tolist()
        return found

    def similar_tracks(self, track: str | os.PathLike[str], k: int = 10) -> list[Match]:
        """Returns the k tracks whose vectors have the largest cosine with that of a track; ties by the lower row.

        The vectors are those of the run's embedding, after `embedding.transform` and `pca`: what the recommender is
        given, before it learns anything. All tracks of the library are searched, also those that nobody played.

        Args:
            track: a track id, or an audio file, of the library or not; one that is not is embedded first.
            k: how many; fewer where the library has fewer.

        Raises:
            MusicrecError: the run reads no embedding; neither a track nor a file; a track without a vector.
        """
        if not self.library.vectors.shape[1]:
            raise MusicrecError(
                f"{self.name} reads no embedding, so it has no vectors to compare; what its listeners play beside a "
                "track is recommend([track])"
            )
        return self.library.similar_tracks(track, k)

    def recommend(self, listener: str | int | Iterable[str | os.PathLike[str]], k: int = 10) -> list[Match]:
        """Returns the k tracks that the recommender ranks highest for a listener; ties by the lower row.

        A user of the log gets the list in the run's predictions (that of test, made with the longest history). A list
        of tracks stands for somebody who has played these, in this order, and nothing else. Tracks that were played are
        left out, unless the run has `eval.repeat=true`; the others are those of train.

        Args:
            listener: the id of a user of train; or track ids or audio files, in the order in which they were played.
            k: how many; fewer where fewer are left.

        Raises:
            MusicrecError: an unknown user or track; a recommender that has nothing to say of the listener or of any of
                the tracks; a missing checkpoint.
        """
        if isinstance(listener, (str, int, np.integer)) and not isinstance(listener, bool):
            return self._for_user(str(listener), k)
        if isinstance(listener, (bool, bytes, os.PathLike)) or not isinstance(listener, Iterable):
            raise MusicrecError(f"listener={shown(listener)} is invalid; must be a user id or a list of tracks")
        return self._for_tracks(track_list(listener), k)

    def _for_user(self, user: str, k: int) -> list[Match]:
        """Returns the list of a user of train."""
        data = self._given.data
        found = np.flatnonzero(data.train.user_ids.astype(str) == user)
        if not len(found):
            known = ", ".join(map(str, self.users[:_SHOWN]))
            raise MusicrecError(
                f"{shown(user)} is not a user of {self.name}; users include {known}; for tracks give a list: "
                f"recommend([{user!r}])"
            )
        history = data.history(self._last)
        most, retriever = how_many(k, len(self.library)), self._retriever(self.model, history)
        ids, scores = self.model.recommend(found, most, history, retriever)
        if not (matches := self.library.matches(ids[0], scores[0])):
            raise MusicrecError(f"{self.name} has no list for user {user}: none of the user's tracks has a vector")
        return matches

    def _for_tracks(self, tracks: list[Any], k: int) -> list[Match]:
        """Returns the list of somebody who has played some tracks and is not in train."""
        if obstacle := self.model.listener_obstacle:
            raise MusicrecError(
                f"{self.title} cannot recommend to a new listener ({obstacle}); use a run of another recommender, e.g. "
                "knn, bert or ease"
            )
        located = list(dict.fromkeys(self.library.locate(track) for track in tracks))
        new = [each for each in located if isinstance(each, Path) or self.model.item_index[each] < 0]
        obstacle = self.model.heard_obstacle if new else None
        if obstacle and len(new) == len(located):
            raise MusicrecError(
                f"{self.title} cannot recommend from {self._named(new)}: {obstacle}; use a run that reads audio, e.g. "
                "knn"
            )
        if obstacle:
            log.warning("%s leaves out %s: %s", self.title, self._named(new), obstacle)
            located = [each for each in located if each not in new]
        model, rows = self._hearing(located, [] if obstacle else new)
        history = _history(self._given.data.train, rows)
        most = how_many(k, len(self.library))
        ids, scores = model.recommend(np.zeros(1, dtype=np.int64), most, history, self._retriever(model, history))
        return self.library.matches(ids[0], scores[0])

    def _hearing(self, located: list[int | Path], new: list[int | Path]) -> tuple[Recommender, np.ndarray]:
        """Returns the model as it knows some tracks, and their (n,) track idx.

        Args:
            located: rows of the library, or files.
            new: those of them that are not candidates.
        """
        idx = {each: each for each in located if not isinstance(each, Path)}
        vectors = {each: self.library.vector_of(each) for each in new}
        if not new:
            return self.model, np.array(list(idx.values()), dtype=np.int64)
        files = [each for each in new if isinstance(each, Path)]
        outside = np.array([vectors[file] for file in files], dtype=np.float32)
        outside = outside.reshape(len(files), self.library.vectors.shape[1])
        rows = np.array([each for each in new if not isinstance(each, Path)], dtype=np.int64)
        given = with_cold(self._given, rows, outside)
        number = {file: len(self.library) + place for place, file in enumerate(files)}
        every = [number[each] if isinstance(each, Path) else idx[each] for each in located]
        return load_model(given, self._run), np.array(every, dtype=np.int64)

    def _named(self, located: list[int | Path]) -> str:
        """Returns the first few of some tracks."""
        names = [str(each) if isinstance(each, Path) else self.library.tracks.ids[each] for each in located]
        return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")

    @property
    def _last(self) -> str:
        """Returns the held-out split whose lists are made with the longest history, and from the tracks of train."""
        return next(name for name in self._given.data.truth if name != VAL)

    def _retriever(self, model: Recommender, history: Interactions) -> TopK[Any]:
        """Returns the search among the tracks that lists of the test split are made of."""
        return model.retriever(history, self._given.data.pool(self._last))


def load_run(name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> LoadedRun:
    """Returns a finished run of a workspace.

    Args:
        name: of the run, or its first characters where only one finished run begins with them; or its folder
            (`workspaces/mine/runs/NAME`).
        root: the workspace; None where `name` is a folder.

    Raises:
        MusicrecError: there is no such run, several, or it is not finished; splits, embedding or index have changed
            since it was trained.
    """
    output, name = _found(name, root)
    record = RunRecord.read(output.run_record(name))
    if record is None or record.status != "finished":
        raise MusicrecError(
            f"run {name} of {output.root} is not finished: run the command that started it again to resume it"
        )
    cfg = _configuration(output, name)
    workspace = Workspace(Path(str(cfg.paths.root)))
    with composition():
        given, library = _made_from(cfg, workspace)
    if given.inputs != record.inputs:
        different = [
            key for key in {**record.inputs, **given.inputs} if record.inputs.get(key) != given.inputs.get(key)
        ]
        raise MusicrecError(
            f"run {name} was trained on other data than {workspace.root} has now (different: {', '.join(different)}): "
            "train it again"
        )
    run = Run(name, str(cfg.recommender.name), output, record.settings, record.inputs, record)
    return LoadedRun(given, run, library)


def _found(name: str | os.PathLike[str], root: str | os.PathLike[str] | None) -> tuple[Workspace, str]:
    """Returns the workspace that a run's files are in, and the run's name.

    Raises:
        MusicrecError: there is no such run, or several.
    """
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise MusicrecError(f"name={shown(name)} is invalid; must be the name or the folder of a run")
    folder = audio_path(name)
    if root is None:
        if folder.parent.name != "runs":
            raise MusicrecError(
                f"{shown(os.fspath(name))} is not the folder of a run; give the workspace: "
                f"load_run({str(name)!r}, root='workspaces/demo')"
            )
        root, name = folder.parent.parent, folder.name
    workspace, wanted = Workspace(audio_path(root)), str(name)
    runs = workspace.recorded_runs()
    if wanted in runs:
        return workspace, wanted
    begin = [run for run in runs if run.startswith(wanted)]
    if len(begin) == 1:
        return workspace, begin[0]
    which = begin or runs
    listed = ", ".join(which[:_SHOWN]) + (", …" if len(which) > _SHOWN else "")
    what = f"{len(begin)} runs begin with" if begin else "there is no run"
    raise MusicrecError(f"{what} {shown(wanted)} in {workspace.root}; runs: {listed or 'none'}")


def _configuration(output: Workspace, name: str) -> DictConfig:
    """Returns the configuration of a run, with the paths of the workspace where it is now.

    Raises:
        MusicrecError: it is missing or damaged.
    """
    path = output.run_dir(name) / "config.yaml"
    try:
        cfg = OmegaConf.load(path)
        before = Path(str(cfg.paths.output))
        own = str(cfg.paths.root) == str(cfg.paths.output) or output.split("train").is_file()
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise MusicrecError(f"{path} is missing or damaged ({first_line(error)}): train the run again") from None
    assert isinstance(cfg, DictConfig)
    # As written, as the run of a companion has them in its name.
    default = option("callbacks", "default")
    written = OmegaConf.merge(cfg, {"callbacks": default})
    if OmegaConf.to_container(written.callbacks, resolve=True) == OmegaConf.to_container(cfg.callbacks, resolve=True):
        cfg.callbacks = default
    cfg.paths.output = str(output.root)
    if own:
        cfg.paths.root = str(output.root)
    if str(cfg.recommender.get("folder")) == str(before / "preds"):
        cfg.recommender.folder = str(output.preds_dir)
    return cfg


def _made_from(cfg: DictConfig, workspace: Workspace) -> tuple[Given, Library]:
    """Returns what a run was made from, as it is now."""
    source: DataSource = make(cfg.data, "data")
    embedding = make_embedding(with_checkpoint(cfg))
    if not workspace.track_index.is_file():
        raise MusicrecError(f"{workspace.track_index} is missing: restore it, or make it with {REMEDY}")
    tracks = TrackIndex.load(workspace.track_index)
    data = SplitData.load(workspace, tracks, source.splits.candidates, bool(cfg.eval.repeat))
    companion = None
    if (wanted := companion_config(cfg)) is not None:
        best = Workspace(Path(str(cfg.paths.output))).checkpoint(
            str(wanted.recommender.name), str(wanted.run_name), "best"
        )
        if not best.is_file():
            raise MusicrecError(f"{best} is missing, and {cfg.run_name} builds on it: train the run again")
        companion = load_companion(wanted, data)
    given = Given.of(cfg, workspace, tracks, data, embedding, companion, files_read(cfg.recommender))
    folder = source.audio_path(workspace) if source.has_audio(workspace) else None

    def as_read(raw: np.ndarray) -> np.ndarray:
        options, train = VectorOptions.of(cfg.embedding), given.data.train
        if options.shuffle:
            raise MusicrecError(
                f"{cfg.run_name} is a control with shuffled vectors: the vector of a further file means nothing in it"
            )
        table = np.concatenate([embedding.table(workspace, tracks), raw])
        both = prepared(table, train.items, train.candidates, options, int(cfg.seed), embedding.name)
        return both[len(tracks) :]

    return given, Library(workspace, embedding, tracks, given.vectors, folder, as_read)


def _history(train: Interactions, rows: np.ndarray) -> Interactions:
    """Returns the history of one listener, user 0, who has played some tracks one after the other.

    Args:
        train: of the users of the log.
        rows: (n,) track idx in order of time.
    """
    late = train.timestamps.max() + np.arange(1, len(rows) + 1).astype("timedelta64[s]")
    count = np.ones(len(rows), dtype=np.int64)
    zeros = np.zeros(len(rows), dtype=np.int64)
    user_ids = np.array(["listener"], dtype=object)
    return replace(train, user_ids=user_ids, users=zeros, items=rows, counts=count, timestamps=late)
