"""Ids of every form come out of the four stages as they went in: index, splits, vectors, predictions, pages."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import cli, stages
from musicrec.workspace import TrackIndex, Workspace

# Numbers in several forms, what pandas takes for nothing or a boolean, controls, marks of writing direction, forms of
# Unicode, letter case, names of devices, and characters that mean something in CSV, HTML, JSON, paths, shells, formats.
IDS = (
    *("007", "07", "7", "1", "1.0", "-1", "+1", "1e5", "0x10", "1_000", "inf", "9223372036854775807", "9" * 30, "٣"),
    *("NA", "N/A", "null", "NULL", "nan", "NaN", "None", "True", "true", "false", "<NA>", "-", "--", "#", "undefined"),
    *("a b", " lead", "trail ", "a,b", 'q"q', '"', "'s", "a;b", "a|b", "a/b", "../x", ".", "..", "a\\b", "\\", "a\\nb"),
    *("n\nl", "c\rr", "t\tb", "end\n", "\u2028ls", "nul\x01x", "x\u202ey", "a\u200bb", "\u00a0", "é", "😀", "日本語"),
    *("ß", "SS", "ss", "ı", "I", "i", "İ", "Σ", "σ", "ς", "ﬁ", "fi", "Ａ", "A", "a", "CON", "aux.txt", "a:b", "a*b?"),
    *("{user}", "${HOME}", "$HOME", "`x`", "%s", "%", "=1+1", "@x", "~", "<b>&amp;", "<script>", "Z" * 300, "x\u0301y"),
)
DECOMPOSED = "Cafe\u0301"


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    """Returns the overrides of a workspace whose users and tracks have these ids, with a table of vectors."""
    rng = np.random.default_rng(0)
    rows = [
        (user, IDS[track], 1_577_836_800 + 86_400 * day)
        for user in (*IDS, DECOMPOSED)
        for day, track in enumerate(rng.permutation(len(IDS))[:10])
    ]
    log, table = tmp_path / "log.csv", tmp_path / "table.csv"
    for path, header, lines in (
        (log, ["user_id", "track_id", "timestamp"], rows),
        (table, ["track_id", *"wxyz"], [(track, *rng.normal(size=4).round(3)) for track in (*IDS[::-1], DECOMPOSED)]),
    ):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
            writer.writerows([header, *lines])
    return [
        *("data=custom", f"data.plays={log}", "data.split=leave_one_out", "embedding=precomputed", "embedding.name=x"),
        *(f"embedding.path={table}", "recommender=knn", "trainer=cpu", "logger=none", "eval.k=3", "eval.top_k=4"),
    ]


@pytest.mark.slow
def test_ids_come_out_as_they_went_in(
    tmp_path: Path, compose: Callable[..., DictConfig], overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, user = Workspace(tmp_path / "workspace"), "../x"
    cli.run(stages.prepare, compose(*overrides))
    index = TrackIndex.load(workspace.track_index)
    with (tmp_path / "log.csv").open(newline="", encoding="utf-8") as file:
        logged = [(user_id, track) for user_id, track, _ in list(csv.reader(file))[1:]]
    plays = pd.read_parquet(workspace.plays)
    played = {(user_id, index.ids[row]) for user_id, row in zip(plays.user_id, plays.track_id, strict=True)}
    assert played == {(user_id, unicodedata.normalize("NFC", track)) for user_id, track in logged}
    cli.run(stages.extract, compose(*overrides))
    cli.run(stages.train, compose(*overrides))
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        vectors = {track: np.array(values, np.float32) for track, *values in list(csv.reader(file))[1:]}
    stored = np.load(next(workspace.root.glob("embeddings/*.npy")))
    for track, row in zip(index.ids, stored, strict=True):
        np.testing.assert_array_equal(row, vectors[track])
    users = {user_id for user_id, _ in logged}
    predictions = pd.read_parquet(next(workspace.root.glob("preds/*.pqt")))
    assert set(predictions.user_id) == users
    with next(workspace.root.glob("model_embeddings/*_users.csv")).open(newline="", encoding="utf-8") as file:
        assert {row[0] for row in list(csv.reader(file))[1:]} == users
    cli.run(stages.evaluate, compose(*overrides, f"inspect.user='{user}'"))
    metrics = pd.read_parquet(next(workspace.root.glob("metrics/*_test.pqt")))
    assert set(metrics.user_id) == users
    [page] = workspace.root.rglob("listen/*.html")
    assert page.parent == workspace.root / "listen"
    shown = capsys.readouterr().out
    assert "../x" in shown
