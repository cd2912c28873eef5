"""Artists of tracks: reads `data.artists` (track id to artist) and writes `data/artists.csv` (track idx to artist)."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from musicrec.errors import MusicrecError, first_line
from musicrec.files import write_text
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

_TRACK_NAMES = ("track_id", "trackid", "item_id", "id")
_ARTIST_NAMES = ("artist_id", "artist", "artist_name")
_HELP = "it must have a column track_id (or item_id) and a column artist (or artist_id)"


def artists_path(workspace: Workspace) -> Path:
    """Returns the path of the artist of each track: idx, artist."""
    return workspace.data_dir / "artists.csv"


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
    listed = workspace.data_dir / "unknown_artists.csv"
    if source is None:
        for path in (artists_path(workspace), listed):
            path.unlink(missing_ok=True)
        return
    artists = _read(source)
    known = {tracks.row(track): artist for track, artist in artists.items() if track in tracks}
    if not known:
        raise MusicrecError(
            f"data.artists={source}: none of its {len(artists):,} track ids (e.g. {next(iter(artists), '')!r}) is in "
            "trackid_sorted.csv"
        )
    unknown = [track for track in artists if track not in tracks]
    if unknown:
        log.warning(
            "%s of the %s tracks of %s are not in the track index; see %s",
            f"{len(unknown):,}",
            f"{len(artists):,}",
            source,
            listed,
        )
        _write(listed, ("trackid", "artist"), {track: artists[track] for track in unknown})
    else:
        listed.unlink(missing_ok=True)
    if missing := len(tracks) - len(known):
        log.warning("%s tracks of the index have no artist in %s", f"{missing:,}", source)
    _write(artists_path(workspace), ("idx", "artist"), dict(sorted(known.items())))


def load_artists(workspace: Workspace, num_tracks: int) -> np.ndarray | None:
    """Returns (num_tracks,) int64 the number of each track's artist, -1 for unknown; None without data/artists.csv.

    Raises:
        MusicrecError: if the file was made for another track index.
    """
    path = artists_path(workspace)
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    numbers: dict[str, int] = {}
    artists = np.full(num_tracks, -1, dtype=np.int64)
    for row in rows:
        if len(row) != 2 or not row[0].isdigit() or int(row[0]) >= num_tracks:
            raise MusicrecError(f"{path} does not fit the track index ({','.join(row)!r}): run python prepare.py again")
        artists[int(row[0])] = numbers.setdefault(row[1], len(numbers))
    return artists


def _read(path: Path) -> dict[str, str]:
    """Returns track id to artist; of several artists the first."""
    if not path.is_file():
        raise MusicrecError(f"data.artists={path} does not exist; {_HELP}")
    try:
        table = pq.read_table(path) if path.suffix in (".parquet", ".pqt") else _read_text(path)
    except (OSError, pa.ArrowException) as error:
        raise MusicrecError(f"data.artists={path} cannot be read: {first_line(error)}") from error
    columns = table.column_names
    names = [next((name for name in usual if name in columns), None) for usual in (_TRACK_NAMES, _ARTIST_NAMES)]
    if None in names:
        raise MusicrecError(f"data.artists={path} has the columns {', '.join(table.column_names)}; {_HELP}")
    ids, artists = (table[str(name)].to_pylist() for name in names)
    found: dict[str, str] = {}
    for track, artist in zip(ids, artists, strict=True):
        if track is not None and artist not in (None, ""):
            found.setdefault(str(track), str(artist))
    return found


def _read_text(path: Path) -> pa.Table:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline().rstrip("\r\n")
    delimiter = "\t" if "\t" in header else ","
    names = [name.strip('"') for name in header.split(delimiter)]
    types = dict.fromkeys(names, pa.string())
    options = pa_csv.ConvertOptions(column_types=types, strings_can_be_null=False)
    return pa_csv.read_csv(path, parse_options=pa_csv.ParseOptions(delimiter=delimiter), convert_options=options)


def _write(path: Path, header: tuple[str, str], rows: Mapping[int, str] | Mapping[str, str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows.items())
    write_text(path, text.getvalue())
