"""PredictionInfo: what a predictions file of ours says of the run that made it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError

_FILE_STEM = re.compile(r"[A-Za-z0-9][\w-]*")
_TYPES: dict[str, type] = {"size": int, "seed": int, "tracks": int, "inputs": dict, "settings": dict}
# Other files of a workspace end in .csv, too.
_RESERVED = frozenset(
    {
        *("artists", "bars", "chance", "comparison", "controls", "geometry", "groups", "groups_significance", "layers"),
        *("seeds", "seeds_significance", "significance", "trackid_sorted"),
    }
)


@dataclass(frozen=True)
class PredictionInfo:
    """The metadata of `preds/{run}.pqt`, stored as JSON in the parquet schema.

    Attributes:
        run: name of the run.
        recommender: name of the recommender, the beginning of the run's name.
        table: file stem of the comparison table that shows the run; None: none does.
        title: what the recommender is called in headings and captions; None in files of earlier versions.
        embedding: name of the embedding, without what was done to its vectors (`vectors`); empty for a recommender that
            reads none.
        size: dimensions of the embedding.
        seed: of the run.
        sweep: name of the sweep that the run belongs to.
        inputs: hashes of what the run read, e.g. `{"splits": {"train": …}, "embedding": …}`.
        settings: what decides the run's numbers.
        tracks: number of tracks in the index that the item ids refer to.
        tracks_hash: fingerprint of that index.
    """

    run: str
    recommender: str = ""
    table: str | None = None
    title: str | None = None
    embedding: str = ""
    size: int | None = None
    seed: int | None = None
    sweep: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    tracks: int | None = None
    tracks_hash: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the content for `files.write_parquet`; what is unknown is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PredictionInfo | None:
        """Returns the metadata of a predictions file; None if another program wrote it.

        Args:
            content: what `files.parquet_metadata` returned. Unknown keys are ignored, missing ones keep their defaults.

        Raises:
            MusicrecError: if a value has another type, or the table's name cannot be that of a file, or is that of
                another file of the workspace.
        """
        if "run" not in content:
            return None
        known = {each.name for each in fields(cls)}
        info = cls(**{key: value for key, value in content.items() if key in known and value is not None})
        for each in fields(cls):
            value = getattr(info, each.name)
            if value is not None and type(value) is not _TYPES.get(each.name, str):
                raise MusicrecError(f"its metadata are damaged: {each.name} is {str(value)[:40]!r}")
        if info.table is not None and (not _FILE_STEM.fullmatch(info.table) or info.table in _RESERVED):
            raise MusicrecError(f"the comparison table cannot be called {info.table!r}")
        return info

    @property
    def vectors(self) -> str:
        """Returns what the recommender read, as rows of tables call it: `vggish`, `vggish zscore shuffled`."""
        if not self.embedding:
            return ""
        return " ".join([self.embedding, *VectorOptions.of(self.settings.get("embedding", {})).words()])

    @property
    def splits(self) -> Mapping[str, str] | None:
        """Returns split name to hash of the split files that the run read; None if that is not recorded."""
        splits = self.inputs.get("splits")
        return splits if isinstance(splits, Mapping) else None

    @property
    def stamp(self) -> dict[str, Any]:
        """Returns what the file records of its track index, for `TrackIndex.check`; empty if nothing."""
        return {} if self.tracks_hash is None else {"tracks": self.tracks, "tracks_hash": self.tracks_hash}
