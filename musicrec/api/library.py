"""Library: a folder of music with a vector per track, and which of its tracks sound alike."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from musicrec import stages
from musicrec.api.embed import audio_path, composed, embed_files
from musicrec.audio.library import scan
from musicrec.embeddings.base import Embedding
from musicrec.embeddings.configure import make_embedding, with_checkpoint
from musicrec.embeddings.tables import store
from musicrec.errors import MusicrecError, shown
from musicrec.recommenders.histories import normalised
from musicrec.recommenders.retrieval.top_k import Seen, VectorTopK
from musicrec.values import Count, checked
from musicrec.workspace import TrackIndex, Workspace
from musicrec.workspace import composed as composed_form

log = logging.getLogger(__name__)

# Ids that a message about an unknown one names.
_SHOWN = 3


class Match(NamedTuple):
    """A track that was found.

    Attributes:
        track_id: as in trackid_sorted.csv: the path below the folder of music without its extension.
        score: what the order follows, higher is better; a cosine where vectors are compared.
        file: the audio file, None where there is none.
    """

    track_id: str
    score: float
    file: Path | None


class Library:
    """Tracks with a vector each; `open_library` makes one from a folder of music, `LoadedRun.library` is a run's.

    Attributes:
        tracks: the index: `tracks.ids[i]` is the track id of row i.
        vectors: (tracks, dim) float32; NaN rows for tracks that could not be embedded.
        embedding: what they were made by.
        folder: of the audio files; None if there is none.
    """

    def __init__(
        self,
        workspace: Workspace,
        embedding: Embedding,
        tracks: TrackIndex,
        vectors: np.ndarray,
        folder: Path | None,
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        """Stores what a library consists of; nothing is read.

        Args:
            workspace: has the record of the embedding.
            embedding: of the vectors.
            tracks: the track index.
            vectors: (tracks, dim) float32.
            folder: of the audio files.
            prepare: what was done to the vectors, for those of further files; None: nothing.
        """
        self.workspace = workspace
        self.embedding = embedding
        self.tracks = tracks
        self.vectors = vectors
        self.folder = folder
        self._prepare = prepare
        self._outside: dict[tuple[Path, int, int], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.tracks)

    def __repr__(self) -> str:
        return f"Library({len(self)} tracks of {self.folder or self.workspace.root}, {self.embedding.name})"

    @cached_property
    def files(self) -> dict[str, Path]:
        """Returns the audio file of each track id that has one, from the folder as it is at the first call."""
        try:
            found = {} if self.folder is None else scan(self.folder)
        except MusicrecError as error:
            log.warning("%s; tracks are shown without their files", error)
            return {}
        return {self.tracks.ids[self.tracks.row(track)]: path for track, path in found.items() if track in self.tracks}

    @cached_property
    def failed(self) -> dict[str, str]:
        """Returns why a track has no vector, by track id."""
        missing = np.flatnonzero(~self._usable)
        return {self.tracks.ids[row]: self.embedding.reason(self.tracks.ids[row]) for row in missing} | {
            track: why for track, why in (self._info.failed.items() if self._info else ()) if track in self.tracks
        }

    def similar_tracks(self, track: str | os.PathLike[str], k: int = 10) -> list[Match]:
        """Returns the k tracks whose vectors have the largest cosine with that of a track; ties by the lower row.

        Args:
            track: a track id, or an audio file, of the library or not; one that is not is embedded first.
            k: how many; fewer where the library has fewer.

        Raises:
            MusicrecError: neither a track nor a file, or one without a vector.
        """
        return self._nearest([track], k)

    def recommend(self, tracks: Iterable[str | os.PathLike[str]], k: int = 10) -> list[Match]:
        """Returns the k tracks nearest to the mean of some tracks by cosine, as `recommender=knn` does; not these.

        Args:
            tracks: track ids or audio files of what somebody likes, each counted once.
            k: how many; fewer where the library has fewer.

        Raises:
            MusicrecError: no track, neither a track nor a file, or one without a vector.
        """
        return self._nearest(track_list(tracks), k)

    def locate(self, track: str | os.PathLike[str]) -> int | Path:
        """Returns the row of a track of the library, or the path of an audio file that is not one of its tracks.

        Raises:
            MusicrecError: neither a track nor a file.
        """
        if isinstance(track, str) and track in self.tracks:
            return self.tracks.row(track)
        path = audio_path(track)
        if not os.path.isfile(path):  # noqa: PTH113  (Path.is_file raises an error for a name that is too long)
            known = ", ".join(self.tracks.ids[:_SHOWN])
            raise MusicrecError(
                f"{shown(track)} is neither a track id nor an audio file; track ids of {self.workspace.root} "
                f"include {known}"
            )
        if self.folder is not None and path.resolve().is_relative_to(self.folder.resolve()):
            inside = path.resolve().relative_to(self.folder.resolve())
            for name in (inside.with_suffix(""), inside):
                if (known := composed_form(name.as_posix())) in self.tracks:
                    return self.tracks.row(known)
        return path

    def vector_of(self, located: int | Path) -> np.ndarray:
        """Returns the vector, (dim,) float32, of what `locate` returned; a file is embedded, once.

        Raises:
            MusicrecError: the track has no vector, or the file cannot be embedded.
        """
        if not isinstance(located, Path):
            if not self._usable[located]:
                track = self.tracks.ids[located]
                raise MusicrecError(
                    f"{shown(track)} has no vector in embedding={self.embedding.name}: {self.failed[track]}"
                )
            vector: np.ndarray = self.vectors[located]
            return vector
        status = located.stat()
        key = (located.resolve(), status.st_mtime_ns, status.st_size)
        if key not in self._outside:
            self._outside[key] = self._embed(located)
        return self._outside[key]

    def matches(self, rows: np.ndarray, scores: np.ndarray) -> list[Match]:
        """Returns rows of the index with their scores as matches; rows below 0 stand for nothing."""
        ids = self.tracks.ids
        pairs = zip(rows.tolist(), scores.tolist(), strict=True)
        return [Match(ids[row], score, self.files.get(ids[row])) for row, score in pairs if 0 <= row < len(ids)]

    def _nearest(self, tracks: Iterable[str | os.PathLike[str]], k: int) -> list[Match]:
        """Returns the k tracks nearest to the mean of some tracks."""
        located = list(dict.fromkeys(self.locate(track) for track in tracks))
        vectors = np.array([self.vector_of(each) for each in located], dtype=np.float64)
        query = torch.from_numpy(normalised(vectors.mean(axis=0, keepdims=True).astype(np.float32)))
        own = np.array([each for each in located if not isinstance(each, Path)], dtype=np.int64)
        ids, scores = self._search(
            query, np.ones(1, dtype=bool), Seen(np.array([0, len(own)]), own), how_many(k, len(self))
        )
        return self.matches(ids[0], scores[0])

    @cached_property
    def _usable(self) -> np.ndarray:
        """Returns (tracks,) bool: which tracks have a vector."""
        usable: np.ndarray = np.isfinite(self.vectors).all(axis=1)
        return usable

    @cached_property
    def _search(self) -> VectorTopK:
        rows = np.flatnonzero(self._usable)
        return VectorTopK(torch.from_numpy(normalised(self.vectors[rows])), rows, "torch")

    @cached_property
    def _info(self) -> store.EmbeddingInfo | None:
        return store.read_info(self.workspace.embedding_info(self.embedding.name))

    def _embed(self, file: Path) -> np.ndarray:
        """Returns the vector of a file that is not in the index, (dim,) float32.

        Raises:
            MusicrecError: it cannot be embedded, or the weights are others than those of the library.
        """
        recorded = self._info
        precision = (recorded.precision if recorded else None) or "fp32"
        vectors, _ = embed_files([file], self.embedding, precision=precision, num_workers=0)
        if recorded is not None and recorded.checkpoint_sha256 not in (None, self.embedding.checkpoint_hash()):
            raise MusicrecError(
                f"{self.workspace.embedding(self.embedding.name)} was made with other weights than those that "
                f"{file} was embedded with (SHA-256 {recorded.checkpoint_sha256}, now "
                f"{self.embedding.checkpoint_hash()}): give the same embedding.checkpoint, or extract it again"
            )
        vector: np.ndarray = (vectors if self._prepare is None else self._prepare(vectors))[0]
        return vector


def open_library(
    folder: str | os.PathLike[str],
    embedding: str = "musicnn",
    *,
    root: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int = 16,
    num_workers: int | str = "auto",
    **options: Any,
) -> Library:
    """Returns the library of a folder of music; what of it has no vector yet is embedded first.

    It is stage 1: `python extract.py data=custom data.audio_dir=FOLDER embedding=NAME`. The vectors are stored, an
    interrupted call is resumed by the next one, and later calls embed only files that are new.

    Args:
        folder: audio files, in any folders below it.
        embedding: an option of the group `embedding`.
        root: the workspace that the vectors are stored in; None: workspaces/{name of the folder}.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".
        batch_size: clips per batch on a GPU.
        num_workers: processes that decode ahead; "auto" depends on the CPU cores, 0 = none.
        options: keys of the embedding's YAML, e.g. `layer=7`.

    Raises:
        MusicrecError: no such folder, no audio in it, an embedding or option that does not exist, or vectors that were
            stored with other settings.
    """
    music = audio_path(folder)
    scan(music)
    values: dict[str, Any] = {"data.audio_dir": music, "data.name": music.resolve().name or "music"}
    if root is not None:
        values["paths.root"] = audio_path(root)
    given = {"device": device, "precision": precision, "batch_size": batch_size, "num_workers": num_workers}
    values |= {f"extract.{key}": value for key, value in given.items()}
    values |= {f"embedding.{key}": value for key, value in options.items()}
    cfg = composed({"data": "custom", "embedding": embedding}, values)
    stages.extract(cfg)
    workspace = Workspace(Path(str(cfg.paths.root)).expanduser())
    made = make_embedding(with_checkpoint(cfg))
    tracks = TrackIndex.load(workspace.track_index)
    return Library(workspace, made, tracks, made.table(workspace, tracks), music)


def how_many(k: object, most: int) -> int:
    """Returns the length of a list: k, or the number of tracks where that is smaller.

    Raises:
        MusicrecError: if k is not a whole number from 1.
    """
    return min(int(checked("k", int(k) if isinstance(k, np.integer) else k, Count)), most)


def track_list(tracks: object) -> list[Any]:
    """Returns tracks as a list.

    Raises:
        MusicrecError: a single track, something else, or nothing.
    """
    if isinstance(tracks, (str, bytes, os.PathLike)) or not isinstance(tracks, Iterable):
        raise MusicrecError(f"tracks={shown(tracks)} is invalid; must be a list of track ids or audio files")
    found = list(tracks)
    if not found:
        raise MusicrecError("tracks=[] is invalid; must be a list of one or more track ids or audio files")
    return found
