"""Checking and converting the values of a log's columns: ids, timestamps, counts, and rejected rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musicrec.data.log.arrays import numbers_of

MAX_SHOWN = 300
NOT_UTF8 = "is not UTF-8"

# 10^11 seconds is the year 5138, 10^11 milliseconds is 1973. No log has either, so the size of a number tells its unit.
# Microseconds and nanoseconds are read if they lie between 1979 and 2255; numbers in between are none of these.
MILLISECONDS_FROM = 10**11
_UNITS_FROM = (MILLISECONDS_FROM, 10**14, 10**17)

# The largest user id that is looked up in an array indexed by the id.
MAX_PLAIN = 10**7

ISO = "ISO"
SECONDS, MILLISECONDS, *_ = EPOCHS = "epoch seconds", "epoch milliseconds", "epoch microseconds", "epoch nanoseconds"
_ISO_PATTERN = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}(?::\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?)? ?(?:Z|[+-]\d{2}(?::?\d{2})?)?$"
_DIGITS = r"^(?:\d{1,18}|[1-8]\d{18})$"
# 1577836800.123456, 1.5778368e9
_FRACTION = r"^\d{1,18}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,2})?$"
# Last.fm's form: 6 Mar 2018, 10:24
_LASTFM_DATE = r"^(\d{1,2}) (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4},? \d{2}:\d{2}$"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Digits below a microsecond are dropped.
_TOO_FINE = r"(:\d{2}\.\d{6})\d{1,3}"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A rejected row.

    Attributes:
        line: its line, counted from 1 with the header (Parquet: its row, counted from 1).
        reason: what is wrong.
        text: the line, or the values of the row.
        file: the file, where there are several.
    """

    line: int
    reason: str
    text: str
    file: str = ""


@dataclass
class LogBatch:
    """Consecutive rows of a log.

    Attributes:
        users: ids, str, dictionary-encoded or not; or, which is faster, (rows,) int64 if each id is an integer from 0
            to MAX_PLAIN in plain form (7, not 07).
        tracks: ids, str, dictionary-encoded or not.
        timestamps: (rows,) datetime64[us], UTC.
        counts: (rows,) int64 plays per row, or None where each row is one play.
        bad: the rejected rows.
        formats: number of timestamps by format.
        left_out: number of rows that are not plays (too short, podcasts) by what they are; they are not bad.
        labels: the split of each row as text, dictionary-encoded; None if the log does not say it.
        artists: the same of the artist of each row's track.
    """

    users: pa.DictionaryArray | pa.StringArray | np.ndarray
    tracks: pa.DictionaryArray | pa.StringArray
    timestamps: np.ndarray
    counts: np.ndarray | None
    bad: list[BadRow] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    labels: pa.DictionaryArray | None = None
    artists: pa.DictionaryArray | None = None

    def __len__(self) -> int:
        return len(self.timestamps)


def plain_integers(texts: pa.StringArray) -> np.ndarray | None:
    """Returns (rows,) int64 if each text is an integer from 0 to MAX_PLAIN in plain form (7, not 07), else None."""
    try:
        numbers = numbers_of(texts.cast(pa.int64()))
    except pa.ArrowInvalid:
        return None
    if not len(numbers) or numbers.min() < 0 or numbers.max() > MAX_PLAIN:
        return None
    # Other forms (007, +7) are longer. So if the total length is that of the plain forms, each of them is plain.
    powers = range(1, len(str(numbers.max())))
    digits = len(numbers) + sum(np.count_nonzero(numbers >= 10**power) for power in powers)
    letters = int(np.frombuffer(texts.buffers()[1], np.int32)[[texts.offset, texts.offset + len(texts)]] @ [-1, 1])
    return numbers if digits == letters else None


def check_rows(
    columns: list[pa.Array], labelled: bool = False, with_artists: bool = False
) -> tuple[LogBatch, dict[int, str]]:
    """Returns the good rows of columns of any type, and the reasons of the bad rows by index.

    Args:
        columns: user, track, timestamp and, if the log has them, count, label and artist; text may be binary or string.
        labelled: whether there is a label.
        with_artists: whether there is an artist.
    """
    artists = _texts(columns[-1]) if with_artists else None
    columns = columns[:-1] if with_artists else columns
    labels = _texts(columns[-1]) if labelled else None
    columns = columns[:-1] if labelled else columns
    users, tracks = _texts(columns[0]), _texts(columns[1])
    timestamps, formats = instants(columns[2])
    counts = _counts(columns[3]) if len(columns) == 4 else None
    faults = [
        (_equals(users, None), columns[0], f"the user id {NOT_UTF8}: {{}}"),
        (_equals(tracks, None), columns[1], f"the track id {NOT_UTF8}: {{}}"),
        (_equals(users, ""), columns[0], "no user id"),
        (_equals(tracks, ""), columns[1], "no track id"),
        (
            np.isnat(timestamps),
            columns[2],
            "the timestamp {} is neither ISO (2019-02-20 10:11:12) nor epoch seconds or milliseconds",
        ),
    ]
    if counts is not None:
        faults.append((counts < 1, columns[3], "the count {} is not a positive whole number"))
    reasons: dict[int, str] = {}
    good = np.ones(len(users), bool)
    for mask, column, reason in faults:
        for row in np.flatnonzero(mask & good):
            reasons[int(row)] = reason.format(shown_value(column[int(row)].as_py()))
        good &= ~mask
    kept = pa.array(good)
    batch = LogBatch(
        users.filter(kept).dictionary_encode(),
        tracks.filter(kept).dictionary_encode(),
        timestamps[good],
        None if counts is None else counts[good],
        formats=formats,
        labels=None if labels is None else pc.fill_null(labels, "").filter(kept).dictionary_encode(),
        artists=None if artists is None else pc.fill_null(artists, "").filter(kept).dictionary_encode(),
    )
    return batch, reasons


def shown_line(line: bytes) -> str:
    r"""Returns a line for the list of rejected rows: bytes that are not UTF-8 as \xff, cut to MAX_SHOWN letters."""
    return line.rstrip(b"\r").decode("utf-8", "backslashreplace")[:MAX_SHOWN]


def shown_value(value: Any) -> str:
    r"""Returns a value as messages show it: bytes that are not UTF-8 as \xff, cut to MAX_SHOWN letters."""
    return repr(value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value)[:MAX_SHOWN]


def _equals(texts: pa.Array, value: str | None) -> np.ndarray:

    mask = pc.is_null(texts) if value is None else pc.fill_null(pc.equal(texts, value), False)
    return np.asarray(mask.to_numpy(zero_copy_only=False))


def _texts(values: pa.Array) -> pa.StringArray:
    """Returns ids as strings: '' for missing ids, null for ids that are not UTF-8."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        return pc.fill_null(values.cast(pa.string()), "")
    except pa.ArrowInvalid:
        return pa.array([_decoded(value) for value in values.to_pylist()], pa.string())


def _decoded(value: bytes | None) -> str | None:
    if value is None:
        return ""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def is_text(kind: pa.DataType) -> bool:
    """Returns whether a column of this type holds strings or bytes."""
    families = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return any(getattr(pa.types, f"is_{family}")(kind) for family in families)


def instants(values: pa.Array) -> tuple[np.ndarray, Counter[str]]:
    """Returns (rows,) datetime64[us] in UTC, NaT for what is not a timestamp, and the number of timestamps by format.

    Args:
        values: timestamps (Arrow stores those with a time zone in UTC), dates, epoch numbers, or text of any of these.
    """
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        microseconds = values.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False).cast(pa.int64())
        if microseconds.null_count:
            microseconds = pc.fill_null(microseconds, np.datetime64("NaT").astype(np.int64).item())
        found = numbers_of(microseconds).view("datetime64[us]")
        return found, +Counter({ISO: int((~np.isnat(found)).sum())})
    if is_text(values.type):
        return _from_texts(pc.utf8_trim_whitespace(pc.fill_null(_texts(values), "")))
    if pa.types.is_floating(values.type):
        return _from_epoch(pc.fill_null(values.cast(pa.float64()), -1.0).to_numpy())
    return _from_epoch(pc.fill_null(_whole_numbers(values), -1).to_numpy())


def _from_texts(texts: pa.StringArray) -> tuple[np.ndarray, Counter[str]]:
    instants = np.full(len(texts), "NaT", "datetime64[us]")
    epoch = pc.match_substring_regex(texts, _DIGITS)
    where = epoch.to_numpy(zero_copy_only=False)
    instants[where], formats = _from_epoch(texts.filter(epoch).cast(pa.int64()).to_numpy())
    fraction = pc.and_not(pc.match_substring_regex(texts, _FRACTION), epoch)
    if pc.any(fraction).as_py():
        where = fraction.to_numpy(zero_copy_only=False)
        # Python's conversion: pyarrow does not read 1577836800. (with nothing after the point)
        numbers = np.array([float(text) for text in texts.filter(fraction).to_pylist()])
        instants[where], fractions = _from_epoch(numbers)
        formats += fractions
    texts = _lastfm_dates_as_iso(texts)
    texts = pc.replace_substring_regex(pc.replace_substring_regex(texts, " ?UTC$", "Z"), _TOO_FINE, r"\1")
    import pandas as pd  # noqa: PLC0415 (clean logs need none of it, and it takes 0.2 s)

    # pandas would also read 2019 or 2019-02, which are more likely mistakes than timestamps.
    iso = pc.match_substring_regex(texts, _ISO_PATTERN)
    parsed = pd.to_datetime(texts.filter(iso).to_pandas(), format="ISO8601", utc=True, errors="coerce")
    found = parsed.dt.tz_localize(None).to_numpy("datetime64[us]")
    instants[iso.to_numpy(zero_copy_only=False)] = found
    return instants, +Counter({ISO: int((~np.isnat(found)).sum())}) + formats


def _lastfm_dates_as_iso(texts: pa.StringArray) -> pa.StringArray:

    where = pc.match_substring_regex(texts, _LASTFM_DATE)
    if not pc.any(where).as_py():
        return texts
    dates = texts
    for number, month in enumerate(_MONTHS, start=1):
        dates = pc.replace_substring(dates, f" {month} ", f" {number:02} ")
    dates = pc.replace_substring_regex(dates, r"^(\d) ", r"0\1 ")
    dates = pc.replace_substring_regex(dates, r"^(\d\d) (\d\d) (\d{4}),? (.*)$", r"\3-\2-\1 \4")
    return pc.if_else(where, dates, texts)


def _counts(values: pa.Array) -> np.ndarray:
    """Returns (rows,) int64 counts, 0 for what is not a positive whole number."""
    if is_text(values.type):
        texts = pc.utf8_trim_whitespace(pc.fill_null(_texts(values), ""))
        texts = pc.replace_substring_regex(texts, r"\.0*$", "")
        values = pc.if_else(pc.match_substring_regex(texts, _DIGITS), texts, "0")
    return np.asarray(pc.fill_null(_whole_numbers(values), 0).to_numpy())


def _whole_numbers(values: pa.Array) -> pa.Int64Array:
    """Returns numbers or text of digits as int64, null for fractions."""
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.equal(values, pc.floor(values)), values, None)
    return values.cast(pa.int64(), safe=False)


def _from_epoch(numbers: np.ndarray) -> tuple[np.ndarray, Counter[str]]:
    """Returns the instants of seconds to nanoseconds, integers or floats, to the microsecond."""
    with np.errstate(invalid="ignore"):
        valid = (numbers >= 0) & (numbers < 10**14) | (numbers >= 3 * 10**14) & (numbers < 9 * 10**15)
        valid |= (numbers >= 3 * 10**17) & (numbers < 9 * 10**18)
    numbers = np.where(valid, numbers, 0)
    unit = np.searchsorted(_UNITS_FROM, numbers, side="right")
    scale = np.array([1_000_000, 1_000, 1, 1])[unit]
    whole = np.floor(numbers).astype(np.int64) if numbers.dtype.kind == "f" else numbers
    microseconds = whole * scale
    if numbers.dtype.kind == "f":
        microseconds += np.rint((numbers - whole) * scale).astype(np.int64)
    microseconds[unit == 3] //= 1_000
    instants = microseconds.astype("datetime64[us]")
    instants[~valid] = np.datetime64("NaT")
    return instants, +Counter(dict(zip(EPOCHS, np.bincount(unit[valid], minlength=len(EPOCHS)).tolist(), strict=True)))
