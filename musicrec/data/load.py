"""Reading a listening log into a PlayTable, with the list of its bad rows."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from musicrec.data.log.formats import AUTO
from musicrec.data.log.read import open_log
from musicrec.data.log.values import NOT_UTF8, BadRow, LogBatch
from musicrec.data.play_table import PlayTable
from musicrec.data.source import DataSource, LogPart
from musicrec.data.splits.given import placed
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path

log = logging.getLogger(__name__)

# Reading stops after this many bad rows if there was no good one.
HOPELESS_ROWS = 100_000
PROGRESS_ROWS = 10_000_000

# A log with a larger share of rows that are not UTF-8, one in a thousand, has another encoding.
_BROKEN_SHARE = 1_000

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
    path = shown_paths(part.paths)
    names, columns = source.splits.names, source.log.wanted(source.splits.label)
    start, bad_rows, first_reason = raw.rows, 0, ""
    formats: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    not_utf8: list[BadRow] = []
    with open_log(part.paths, columns, threads) as listening_log:
        for batch in listening_log.batches:
            for row in batch.bad:
                if source.log.on_bad_row == "error":
                    raise MusicrecError(
                        f"{row.file or path}, line {row.line}: {row.reason}; fix it, or skip such rows with "
                        "data.on_bad_row=skip"
                    )
                first_reason = first_reason or f"line {row.line}: {row.reason}"
                reject(replace(row, file=row.file or path), listening_log.several or several_parts)
            bad_rows += len(batch.bad)
            not_utf8 += [replace(row, text="") for row in batch.bad if NOT_UTF8 in row.reason]
            formats += batch.formats
            left_out += batch.left_out
            before = raw.rows
            if len(batch):
                if raw.rows == start:
                    _refuse_times_as_ids(path, batch)
                if raw.rows and (batch.counts is not None) != raw.has_counts:
                    raise MusicrecError(f"some files of {path} have a column of counts and some have none")
                if not listening_log.timed:  # times that keep the order
                    seconds = np.arange(raw.rows, raw.rows + len(batch)).astype("datetime64[s]")
                    batch = replace(batch, timestamps=seconds.astype("datetime64[us]"))
                raw.append(placed(batch, part.split, source.splits.split_column, names, path))
            if raw.rows // PROGRESS_ROWS > before // PROGRESS_ROWS:
                log.info("%s: %s rows read", path, f"{raw.rows:,}")
            if raw.rows == start and bad_rows >= HOPELESS_ROWS:
                break
    if source.log.encoding == AUTO and len(not_utf8) * _BROKEN_SHARE > raw.rows - start:
        where = f"{not_utf8[0].file or path}, line {not_utf8[0].line}"
        raise MusicrecError(
            f"{where}: not UTF-8, as {len(not_utf8):,} rows in all; set "
            "data.encoding=latin-1 (or cp1252, …) to read them, or data.encoding=utf-8 to skip them"
        )
    if raw.rows == start:
        raise MusicrecError(f"the listening log {path} has no plays: {_why_empty(bad_rows, first_reason, left_out)}")
    for what, count in sorted(left_out.items()):
        log.info("%s: %s entries left out: %s", path, f"{count:,}", what)
    if len(formats) > 1:
        mixture = ", ".join(f"{count:,} {name}" for name, count in sorted(formats.items()))
        log.warning("%s mixes timestamp formats (%s); each was read in its own format", path, mixture)
    return listening_log.by_name


def _why_empty(bad_rows: int, first_reason: str, left_out: Counter[str]) -> str:
    if left_out and not bad_rows:
        return "only " + " and ".join(sorted(left_out))
    if not bad_rows:
        return "there is only a header"
    return (
        f"all rows are bad, first {first_reason}; are data.user_column, data.track_column and "
        "data.timestamp_column right?"
    )


def _refuse_times_as_ids(path: str, batch: LogBatch) -> None:
    """Refuses a log whose ids look like times, because its columns are probably swapped."""
    for key, ids in (("user_column", batch.users), ("track_column", batch.tracks)):
        if isinstance(ids, np.ndarray):
            continue
        first = ids.dictionary[:100].to_pylist()
        if all(_TIME_OF_DAY.match(value) for value in first):
            raise MusicrecError(
                f"the {key.split('_')[0]} ids of {path}, such as {first[0]!r}, look like timestamps; are columns "
                f"swapped? Set data.{key}=NAME and data.timestamp_column=NAME"
            )
