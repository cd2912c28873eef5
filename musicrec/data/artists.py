"""Artists of tracks: reads `data.artists` (track id, artist) and writes `data/artists.csv` (track idx, artist)."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from musicrec.errors import MusicrecError, first_line
from musicrec.files import write_text
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

log = logging.getLogger(__name__)

_TRACK_NAMES = ("track_id", "trackid", "item_id", "id")
# Also what stands for an artist: albums tell more about a track, and leak as well.
_ARTIST_NAMES = ("artist_id", "artist", "artist_name", "album_id", "album")
# Rows of data/unknown_artists.csv; the mapping of a large data set covers millions of tracks that nobody played.
_MOST_LISTED = 100_000
_HELP = "it must have a column track_id (or item_id) and a column artist (or artist_id)"


def unknown_artists_path(workspace: Workspace) -> Path:
    """Returns the path of the list of tracks outside the index: trackid, artist."""
    return workspace.data_dir / "unknown_artists.csv"


def artists_path(workspace: Workspace) -> Path:
    """Returns the path of the artists of each track: idx, artist; several rows for several artists."""
    return workspace.data_dir / "artists.csv"


@dataclass(frozen=True)
class TrackArtists:
    """Which artists each track has: none, one or several.

    Attributes:
        num_tracks: number of tracks in the index.
        tracks: (pairs,) int64 track idx, non-decreasing.
        artists: (pairs,) int64 number of the artist, from 0.
    """

    num_tracks: int
    tracks: np.ndarray
    artists: np.ndarray

    @classmethod
    def single(cls, artists: Sequence[int] | np.ndarray) -> TrackArtists:
        """Returns the artists of tracks that have one at most; -1 = none.

        >>> TrackArtists.single([5, -1, 5]).tracks.tolist()
        [0, 2]
        """
        numbers = np.asarray(artists, dtype=np.int64)
        tracks = np.flatnonzero(numbers >= 0)
        return cls(len(numbers), tracks, numbers[tracks])

    @property
    def known(self) -> np.ndarray:
        """Returns (num_tracks,) bool: whether a track has an artist."""
        return np.bincount(self.tracks, minlength=self.num_tracks) > 0

    @property
    def first(self) -> np.ndarray:
        """Returns (num_tracks,) int64 the first artist of each track, -1 for none."""
        found = np.full(self.num_tracks, -1, dtype=np.int64)
        tracks, positions = np.unique(self.tracks, return_index=True)
        found[tracks] = self.artists[positions]
        return found

    @property
    def matrix(self) -> csr_matrix:
        """Returns (num_tracks, artists) float32, 1 where a track is by an artist."""
        from scipy.sparse import csr_matrix  # noqa: PLC0415 (prepare.py needs none of it, and it takes 0.1 s)

        shape = (self.num_tracks, int(self.artists.max(initial=-1)) + 1)
        return csr_matrix((np.ones(len(self.tracks), np.float32), (self.tracks, self.artists)), shape=shape)


def write_artists(source: Path | None, workspace: Workspace, tracks: TrackIndex) -> None:
    """Writes data/artists.csv from the file that the user gave; deletes it if there is none.

    Tracks of the file that are not in the index are counted in a warning and listed in data/unknown_artists.csv.

    Args:
        source: `data.artists`.
        workspace: where the file goes.
        tracks: the track index.

    Raises:
        MusicrecError: if the file is missing, unreadable, or names none of the tracks.
    """
    if source is None:
        remove_artists(workspace)
        return
    ids, artists = _read(source)
    save_artists(ids, artists, f"data.artists={source}", workspace, tracks)


def remove_artists(workspace: Workspace) -> None:
    """Deletes what an earlier prepare.py wrote of artists."""
    for path in (artists_path(workspace), unknown_artists_path(workspace)):
        path.unlink(missing_ok=True)


def save_artists(
    ids: pa.StringArray, artists: pa.StringArray, given: str, workspace: Workspace, tracks: TrackIndex
) -> None:
    """Writes data/artists.csv, sorted by track idx and in the order given, and the list of unknown tracks.

    Args:
        ids: (pairs,) track ids; a track that occurs several times has several artists.
        artists: (pairs,) names or ids of artists.
        given: what says so, for messages.
        workspace: where the files go.
        tracks: the track index.

    Raises:
        MusicrecError: if none of the tracks is in the index.
    """
    distinct = ids.dictionary_encode()
    names: list[str] = distinct.dictionary.to_pylist()
    rows = np.array([tracks.row(name) if name in tracks else -1 for name in names], dtype=np.int64)
    known, listed = rows >= 0, unknown_artists_path(workspace)
    if not known.any():
        raise MusicrecError(
            f"{given}: none of its {len(names):,} track ids (e.g. {(names or [''])[0]!r}) is in trackid_sorted.csv"
        )
    index = rows[distinct.indices.to_numpy()]
    if not known.all():
        shown = min(_MOST_LISTED, len(index) - int((index >= 0).sum()))
        log.warning(
            "%s of the %s tracks of %s are not in the track index; see %s%s",
            f"{int((~known).sum()):,}",
            f"{len(names):,}",
            given,
            listed,
            f" (the first {shown:,} rows)" if shown == _MOST_LISTED else "",
        )
        unknown = pa.array(np.flatnonzero(index < 0)[:_MOST_LISTED])
        rows_listed = zip(ids.take(unknown).to_pylist(), artists.take(unknown).to_pylist(), strict=True)
        _write(listed, ("trackid", "artist"), rows_listed)
    else:
        listed.unlink(missing_ok=True)
    if missing := len(tracks) - len(np.unique(rows[known])):
        log.warning("%s tracks of the index have no artist in %s", f"{missing:,}", given)
    order = np.argsort(index, kind="stable")[int((index < 0).sum()) :]
    pairs = dict.fromkeys(zip(index[order].tolist(), artists.take(pa.array(order)).to_pylist(), strict=True))
    _write(artists_path(workspace), ("idx", "artist"), pairs)


def load_artists(workspace: Workspace, num_tracks: int) -> TrackArtists | None:
    """Returns the artists of each track; None without data/artists.csv.

    Raises:
        MusicrecError: if the file was made for another track index.
    """
    path = artists_path(workspace)
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    numbers: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for row in rows:
        if len(row) != 2 or not row[0].isdigit() or int(row[0]) >= num_tracks:
            raise MusicrecError(f"{path} does not fit the track index ({','.join(row)!r}): run python prepare.py again")
        pairs.append((int(row[0]), numbers.setdefault(row[1], len(numbers))))
    tracks, artists = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    order = np.argsort(tracks, kind="stable")
    return TrackArtists(num_tracks, tracks[order], artists[order])


def _read(path: Path) -> tuple[pa.StringArray, pa.StringArray]:
    """Returns the track ids and artists of the rows that have both."""
    if not path.is_file():
        raise MusicrecError(f"data.artists={path} does not exist; {_HELP}")
    try:
        table = pq.read_table(path) if path.suffix in (".parquet", ".pqt") else _read_text(path)
        columns = table.column_names
        names = [next((name for name in usual if name in columns), None) for usual in (_TRACK_NAMES, _ARTIST_NAMES)]
        if None in names:
            raise MusicrecError(f"data.artists={path} has the columns {', '.join(table.column_names)}; {_HELP}")
        ids, artists = (table[str(name)].cast(pa.string()).combine_chunks() for name in names)
    except (OSError, pa.ArrowException) as error:
        raise MusicrecError(f"data.artists={path} cannot be read: {first_line(error)}") from error
    given = pc.and_(pc.is_valid(ids), pc.fill_null(pc.not_equal(artists, ""), False))
    return ids.filter(given), artists.filter(given)


def _read_text(path: Path) -> pa.Table:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline().rstrip("\r\n")
    delimiter = "\t" if "\t" in header else ","
    names = [name.strip('"') for name in header.split(delimiter)]
    types = dict.fromkeys(names, pa.string())
    options = pa_csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    return pa_csv.read_csv(path, parse_options=pa_csv.ParseOptions(delimiter=delimiter), convert_options=options)


def _write(path: Path, header: tuple[str, str], rows: Iterable[tuple[object, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())
