"""Precomputed: vectors made by another program, read from a feature file with track ids."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from musicrec.embeddings.base import Embedding
from musicrec.embeddings.feature_files.align import align
from musicrec.embeddings.feature_files.block import Block
from musicrec.embeddings.feature_files.read import content_hash, read_blocks
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

_HELP = "give it as embedding.path=FILE (.csv, .tsv, .npy, .npz, .parquet, .safetensors or a folder of .npy files)"


class Precomputed(Embedding):
    """Vectors read from a file and put in the order of the track index; tracks it lacks become NaN rows.

    - `.csv`, `.tsv`, also `.gz`, `.bz2`, `.zst`: one row per track, with or without a header; the column of ids is
      named `id`, `trackid`, ... or is the first one, every other holds numbers;
    - `.parquet`: a column of track ids and either one column of lists or one column of floats per dimension;
    - `.npz`: a 1-d array of track ids and a 2-d array, whatever their names;
    - `.npy`: (rows, dim), with the ids in `ids` or in a file of the same name with the extension .txt or .csv beside it
      (one per line, or the column `trackid` or `track_id`). Without ids, row i is track idx i. Where the index was made
      from a log, that is only accepted if its track ids are 0, 1, 2, …; `ids=index` accepts it for any index;
    - `.safetensors`: the same, or one tensor per track, named by its id;
    - a folder: one .npy per track, (dim,) or (1, dim), whose path in the folder without its extension is the track id.

    A vector with NaN or infinite values is left out and listed. Without a path it is `embeddings/{name}.npy` of the
    workspace.
    """

    def __init__(
        self,
        name: str = "precomputed",
        path: str | None = None,
        ids: str | None = None,
        trainable: bool = False,
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        sample_rate: int | None = None,
    ):
        """Keeps the paths; nothing is read yet.

        Args:
            name: names the files; give each table its own.
            path: the file or folder.
            ids: file with the track ids of a .npy or .safetensors; `index`: its rows follow trackid_sorted.csv.
            trainable: recommenders learn the table, starting from these values.
            checkpoint: the same as `path`, under the name that other embeddings have for their file.
            max_seconds: ignored, like all keys that follow: accepted so that a sweep can set them for every embedding.
            pad: ignored.
            layer: ignored.
            sample_rate: ignored.
        """
        super().__init__(name, trainable)
        given = path or checkpoint
        self.path = Path(given).expanduser() if given else None
        self.follows_index = ids == "index"
        self.ids = Path(ids).expanduser() if ids and not self.follows_index else None
        self._left_out: dict[str, str] = {}

    def settings(self) -> dict[str, Any]:
        """Returns the file's path."""
        return {"model": "Precomputed", "checkpoint": str(self.path) if self.path else None}

    def checkpoint_hash(self) -> str | None:
        """Returns the SHA-256 of the file."""
        return content_hash(self._existing()) if self.path else None

    def table(self, workspace: Workspace, tracks: TrackIndex) -> np.ndarray:
        """Returns the vectors in the order of the track index, (tracks, dim) float32, NaN where the file lacks one.

        Raises:
            MusicrecError: missing, unreadable, or without any of the tracks.
        """
        if self.path is None:
            if not workspace.embedding(self.name).is_file():
                raise MusicrecError(f"embedding={self.name} has no file: {_HELP}")
            return super().table(workspace, tracks)
        path = self._existing()
        named: list[bool] = []

        def blocks() -> Iterator[Block]:
            for block in self._blocks(path):
                named.append(block.ids is not None)
                yield block

        table, self._left_out = align(path, blocks(), tracks)
        if not any(named):
            self._check_order(workspace, tracks)
        return table

    def reason(self, track: str) -> str:
        """Returns why a track has no vector, according to the last call of `table`."""
        return self._left_out.get(track) or super().reason(track)

    def _blocks(self, path: Path) -> Iterator[Block]:
        """Yields the rows of the file."""
        return read_blocks(path, self.ids)

    def _check_order(self, workspace: Workspace, tracks: TrackIndex) -> None:
        """Says which order is assumed of rows without ids.

        Raises:
            MusicrecError: if the index came from a log and is not 0, 1, 2, …, so that no order can be assumed.
        """
        counting = all(track == str(row) for row, track in enumerate(tracks.ids))
        if self.follows_index or not workspace.index_from_log():
            log.info("%s has no track ids: row i is taken for the track with idx i in trackid_sorted.csv", self.path)
        elif counting:
            log.info("%s has no track ids: row i is taken for track i of the log", self.path)
        else:
            beside = self.path.with_suffix(".txt") if self.path else None
            raise MusicrecError(
                f"{self.path} has no track ids, and those of the log ({', '.join(tracks.ids[:3])}, …) are not "
                f"0, 1, 2, …: put one id per line in {beside}, or set embedding.ids=index if the rows follow "
                "trackid_sorted.csv"
            )

    def _existing(self) -> Path:
        assert self.path is not None
        if not self.path.exists():
            raise MusicrecError(f"embedding.path: {self.path} does not exist; {_HELP}")
        return self.path
