"""The file of users (`data.users`): one row per user, a column `user_id` and any others."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from musicrec.columns import USER
from musicrec.errors import MusicrecError, first_line

_HELP = "it must have a column user_id and at least one more"


def read_users(path: str | Path) -> pd.DataFrame:
    """Returns the columns of a file of users; its index is the user id as text, of repeated ids the first.

    Args:
        path: .csv, .tsv (also .gz, .bz2, .zst) or .parquet.

    Raises:
        MusicrecError: if the file is missing or unreadable, or lacks a column.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MusicrecError(f"data.users={path} does not exist; {_HELP}")
    try:
        table = pq.read_table(path) if path.suffix in (".parquet", ".pqt") else _read_text(path)
        frame = table.to_pandas()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise MusicrecError(f"data.users={path} cannot be read: {first_line(error)}") from error
    names = [str(name).strip() for name in frame.columns]
    if USER not in names or len(names) < 2 or len(set(names)) < len(names):
        raise MusicrecError(f"data.users={path} has the columns {', '.join(names)}; {_HELP}, each name once")
    frame.columns = pd.Index(names)
    frame = frame.dropna(subset=[USER])
    frame.index = pd.Index(frame.pop(USER).map(_text), name=USER)
    return frame[~frame.index.duplicated()]


def _text(user: object) -> str:
    """Returns an id as the log would write it: `7`, also where an empty row elsewhere made it 7.0."""
    return str(int(user)) if isinstance(user, float) and user.is_integer() else str(user)


def _read_text(path: Path) -> pa.Table:
    """Returns a delimited file; user ids stay text, so that 007 remains 007."""
    with pa.input_stream(str(path), compression="detect") as stream:
        content = stream.read()
    header = content.split(b"\n", 1)[0].decode("utf-8-sig").rstrip("\r")
    delimiter = "\t" if "\t" in header else ","
    options = pa_csv.ConvertOptions(column_types={USER: pa.string()}, strings_can_be_null=True)
    return pa_csv.read_csv(
        pa.BufferReader(content), parse_options=pa_csv.ParseOptions(delimiter=delimiter), convert_options=options
    )
