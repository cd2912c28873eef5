"""Reading a listening log into a PlayTable, with the list of its bad rows."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from musicrec.data.log.formats import AUTO
from musicrec.data.log.read import open_log
from musicrec.data.log.values import NOT_UTF8, SECONDS, BadRow, LogBatch
from musicrec.data.source import DataSource, LogPart
from musicrec.data.splits.given import placed
from musicrec.data.table.play_table import PlayTable
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path

log = logging.getLogger(__name__)

# Reading stops after this many bad rows if there was no good one, and after three times as many if hardly any is good.
HOPELESS_ROWS = 100_000
_HOPELESS_SHARE = 99
PROGRESS_ROWS = 10_000_000

# A log with a larger share of rows that are not UTF-8, one in a thousand, has another encoding.
_BROKEN_SHARE = 1_000

# No listening log ends before it.
_EARLIEST = np.datetime64("1990-01-01", "us")

_TIME_OF_DAY = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}")


def shown_paths(paths: Sequence[Path]) -> str:
    """Returns the paths of a log for messages."""
    return str(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def load(
    source: DataSource, parts: Sequence[LogPart], raw: PlayTable, rejected: Path, threads: int
) -> tuple[int, bool]:
    """Reads a log into `raw` and its bad rows into the file `rejected`.

    Args:
        source: says how the log is read.
        parts: the log.
        raw: the table, still empty.
        rejected: the list of bad rows: line, reason, text, and the file if there are several; deleted if it is empty.
        threads: number of parser threads.

    Returns:
        The number of bad rows, and whether track ids are composed of artist and title.

    Raises:
        MusicrecError: if a part cannot be read or has no good row, or a row is bad and `data.on_bad_row=error`.
    """
    bad_rows, by_name = 0, False
    with atomic_path(rejected) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        header = ["line", "reason", "text"]

        def reject(row: BadRow, several: bool) -> None:
            nonlocal bad_rows
            if not bad_rows:
                writer.writerow([*header, "file"] if several else header)
            bad_rows += 1
            writer.writerow([row.line, row.reason, row.text, *([row.file] if several else [])])

        for part in parts:
            by_name |= _load_part(source, part, raw, len(parts) > 1, reject, threads)
    if not bad_rows:
        rejected.unlink()
    return bad_rows, by_name


def _load_part(
    source: DataSource,
    part: LogPart,
    raw: PlayTable,
    several_parts: bool,
    reject: Callable[[BadRow, bool], None],
    threads: int,
) -> bool:
    """Reads a part of a log into `raw`, and returns whether track ids are composed of artist and title.

    Args:
        source: says how the log is read.
        part: the part.
        raw: the table.
        several_parts: whether there are others, so that bad rows name their file.
        reject: called with each bad row, and whether it names its file.
        threads: number of parser threads.
    """
    path, names = shown_paths(part.paths), source.splits.names
    start, tally = raw.rows, _Tally(path)
    with open_log(part.paths, source.log.wanted(source.splits.label, source.conditions()), threads) as listening_log:
        for batch in listening_log.batches:
            for row in batch.bad:
                if source.log.on_bad_row == "error":
                    raise MusicrecError(
                        f"{row.file or path}, line {row.line}: {row.reason}; fix it, or skip such rows with "
                        "data.on_bad_row=skip"
                    )
                reject(replace(row, file=row.file or path), listening_log.several or several_parts)
            tally.add(batch)
            before = raw.rows
            if len(batch):
                if raw.rows == start:
                    _refuse_times_as_ids(path, batch)
                if raw.rows and (batch.counts is not None) != raw.has_counts:
                    raise MusicrecError(f"some files of {path} have a column of counts and some have none")
                if not listening_log.timed:  # times that keep the order
                    seconds = np.arange(raw.rows, raw.rows + len(batch)).astype("datetime64[s]")
                    batch = replace(batch, timestamps=seconds.astype("datetime64[us]"))
                if source.log.artist_column is not None and batch.artists is None:
                    raise MusicrecError(
                        f"{path} has no column {source.log.artist_column!r} (data.artist_column): only tables with "
                        "named columns have one; data.artists=FILE names the artists by track id"
                    )
                raw.append(placed(batch, part.split, source.splits.split_column, names, path))
            if raw.rows // PROGRESS_ROWS > before // PROGRESS_ROWS:
                log.info("%s: %s rows read", path, f"{raw.rows:,}")
            if raw.rows == start and tally.bad_rows >= HOPELESS_ROWS:
                break
            tally.check_share(raw.rows - start)
    tally.check(raw.rows - start, guessed_encoding=source.log.encoding == AUTO)
    tally.report()
    return listening_log.by_name


@dataclass
class _Tally:
    """What was found in a part of a log besides plays.

    Attributes:
        path: names the part in messages.
        bad_rows: their number.
        first_reason: line and fault of the first.
        formats: number of rows by format of their times.
        left_out: number of entries that are no plays, by what they are.
        last: time of the last play.
        first_broken: file and line of the first row that is not UTF-8.
        broken: number of such rows.
    """

    path: str
    bad_rows: int = 0
    first_reason: str = ""
    formats: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    last: np.datetime64 = field(default_factory=lambda: np.datetime64("1000-01-01", "us"))
    first_broken: str = ""
    broken: int = 0

    def add(self, batch: LogBatch) -> None:
        """Counts what is in a batch."""
        if batch.bad and not self.first_reason:
            self.first_reason = f"line {batch.bad[0].line}: {batch.bad[0].reason}"
        self.bad_rows += len(batch.bad)
        for row in batch.bad:
            if NOT_UTF8 in row.reason:
                self.first_broken = self.first_broken or f"{row.file or self.path}, line {row.line}"
                self.broken += 1
        self.formats += batch.formats
        if len(batch):
            self.last = max(self.last, batch.timestamps.max())
        self.left_out += batch.left_out

    def check_share(self, plays: int) -> None:
        """Raises an error if there are many bad rows and hardly any plays."""
        if self.bad_rows >= 3 * HOPELESS_ROWS and self.bad_rows > _HOPELESS_SHARE * plays:
            raise MusicrecError(
                f"{self.bad_rows:,} of the first {self.bad_rows + plays:,} rows of {self.path} are bad, "
                f"{_hint(self.first_reason)}"
            )

    def check(self, plays: int, guessed_encoding: bool) -> None:
        """Raises an error if the part has no plays, or so many rows in another encoding that the guess was wrong."""
        if guessed_encoding and self.broken * _BROKEN_SHARE > plays:
            raise MusicrecError(
                f"{self.first_broken}: not UTF-8, as {self.broken:,} rows in all; set "
                "data.encoding=latin-1 (or cp1252, …) to read them, or data.encoding=utf-8 to skip them"
            )
        if not plays:
            why = _why_empty(self.bad_rows, self.first_reason, self.left_out)
            raise MusicrecError(f"the listening log {self.path} has no plays: {why}")

    def report(self) -> None:
        """Logs what was left out and which formats of times are mixed."""
        for what, count in sorted(self.left_out.items()):
            log.info("%s: %s entries left out: %s", self.path, f"{count:,}", what)
        if self.formats[SECONDS] and self.last < _EARLIEST:
            message = (
                "%s: its last play is of %s, so its times are probably not seconds since 1970 but days (Excel) or "
                "dates such as 20200101; write them as 2020-01-01"
            )
            log.warning(message, self.path, str(self.last)[:10])
        if len(self.formats) > 1:
            mixture = ", ".join(f"{count:,} {name}" for name, count in sorted(self.formats.items()))
            message = "%s mixes timestamp formats (%s); each was read in its own format"
            log.warning(message, self.path, mixture)


def _why_empty(bad_rows: int, first_reason: str, left_out: Counter[str]) -> str:
    if left_out and not bad_rows:
        return "only " + " and ".join(sorted(left_out))
    if not bad_rows:
        return "there is only a header"
    return f"all rows are bad, {_hint(first_reason)}"


def _hint(first_reason: str) -> str:
    return f"first {first_reason}; are data.user_column, data.track_column and data.timestamp_column right?"


def _refuse_times_as_ids(path: str, batch: LogBatch) -> None:
    """Refuses a log whose ids look like times, because its columns are probably swapped."""
    for key, ids in (("user_column", batch.users), ("track_column", batch.tracks)):
        if isinstance(ids, np.ndarray):
            continue
        first = (ids.dictionary if isinstance(ids, pa.DictionaryArray) else ids)[:100].to_pylist()
        if all(_TIME_OF_DAY.match(value) for value in first):
            raise MusicrecError(
                f"the {key.split('_')[0]} ids of {path}, such as {first[0]!r}, look like timestamps; are columns "
                f"swapped? Set data.{key}=NAME and data.timestamp_column=NAME"
            )
