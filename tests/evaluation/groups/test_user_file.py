"""The file of users: formats, ids as text, refusals."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from musicrec.errors import MusicrecError
from musicrec.evaluation.groups.user_file import read_users

TEXT = "user_id,country,age\n007,EE,31\n8,,\n8,DE,5\n"


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "parquet"])
def test_formats(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"users.{kind}"
    if kind == "parquet":
        pd.DataFrame({"user_id": ["007", "8"], "country": ["EE", None], "age": [31.0, None]}).to_parquet(path)
    elif kind == "csv.gz":
        path.write_bytes(gzip.compress(TEXT.encode()))
    else:
        path.write_text(TEXT.replace(",", "\t") if kind == "tsv" else TEXT, encoding="utf-8-sig")
    users = read_users(path)
    assert users.index.tolist() == ["007", "8"] and list(users.columns) == ["country", "age"]
    assert users.loc["007", "country"] == "EE" and users["age"].tolist()[0] == 31
    assert users["country"].isna().tolist() == [False, True]


def test_numerical_ids_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    pd.DataFrame({"user_id": [7.0, None], "age": [1, 2]}).to_parquet(path)
    assert read_users(path).index.tolist() == ["7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist; it must have a column user_id"),
        ("user,age\n1,2\n", "has the columns user, age; it must have a column user_id and at least one more"),
        ("user_id\n1\n", "at least one more"),
        ("user_id,a,a\n1,2,3\n", "each name once"),
        ("user_id,a\n1,2\n3\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_refusals(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "users.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MusicrecError, match=message):
        read_users(path)
