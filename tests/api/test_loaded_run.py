"""load_run and LoadedRun: the lists of preds/, new listeners, files outside the library, every refusal."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import musicrec
from tests.api.conftest import RUNS

FLUTES = {"flute/0", "flute/1", "flute/2"}


@pytest.mark.parametrize("name", [*RUNS, "ensemble", "control"])
def test_users_get_the_lists_of_the_predictions(workspace: Path, name: str) -> None:
    run = musicrec.load_run(name, workspace)
    frame = pd.read_parquet(workspace / "preds" / f"{name}.pqt").sort_values("rank")
    assert run.users == list(range(1, 13))
    for user in (1, 6):
        rows = frame[frame.user_id == user]
        expected = [run.library.tracks.ids[item] for item in rows.item_id]
        found = run.recommend(user, 4)
        assert [match.track_id for match in found] == expected
        np.testing.assert_allclose([match.score for match in found], rows.score, rtol=1e-5, atol=1e-6)
        assert run.recommend(str(user), 4) == found
    assert found[0].file is not None and found[0].file.is_file()


@pytest.mark.parametrize("name", ["knn", "ease", "popularity", "bert", "bimodal"])
def test_a_new_listener_gets_the_list_of_a_user_who_played_the_same(workspace: Path, name: str) -> None:
    run = musicrec.load_run(name, workspace)
    train = pd.read_parquet(workspace / "data" / "train.pqt").sort_values(["timestamp", "track_id"])
    played = [run.library.tracks.ids[item] for item in train[train.user_id == 3].track_id]
    found, expected = run.recommend(played, 4), run.recommend(3, 4)
    assert [match.track_id for match in found] == [match.track_id for match in expected]
    assert not {match.track_id for match in found} & set(played)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("shallow", "Shallow net cannot recommend to a new listener .it learns a vector per user of training."),
        ("ensemble", "Ensemble cannot recommend to a new listener .it fuses the lists that other runs made"),
    ],
)
def test_who_cannot_recommend_to_a_new_listener_says_why(workspace: Path, name: str, why: str) -> None:
    with pytest.raises(musicrec.MusicrecError, match=why):
        musicrec.load_run(name, workspace).recommend(["bass/0"])


def test_files_outside_the_library(workspace: Path, outside: Path, caplog: pytest.LogCaptureFixture) -> None:
    knn, ease = musicrec.load_run("knn", workspace), musicrec.load_run("ease", workspace)
    assert {match.track_id for match in knn.similar_tracks(outside, 3)} == FLUTES
    assert {match.track_id for match in knn.recommend([outside], 3)} == FLUTES
    found = {match.track_id for match in knn.recommend([outside, "flute/0"], 2)}
    assert found == {"flute/1", "flute/2"}
    # Nobody played the last organ; KNN hears it all the same, EASE cannot.
    assert [match.track_id for match in knn.recommend(["organ/2"], 1)] == ["organ/1"]
    for tracks, named in (([outside], "new song.flac"), (["organ/2"], "organ/2")):
        with pytest.raises(musicrec.MusicrecError, match=f"EASE cannot recommend from .*{named}: it knows only"):
            ease.recommend(tracks)
    with caplog.at_level(logging.WARNING):
        assert ease.recommend([outside, "bass/0"], 3) == ease.recommend(["bass/0"], 3)
    assert [line for line in caplog.messages if line.startswith("EASE leaves out") and "new song.flac" in line]


def test_similar_tracks_are_compared_as_the_run_reads_them(workspace: Path, composed: Any, outside: Path) -> None:
    musicrec_run = musicrec.load_run("knn", workspace)
    raw = np.load(workspace / "embeddings" / "mfcc.npy").astype(np.float64)
    row = musicrec_run.library.tracks.row("bass/0")
    cosine = raw @ raw[row] / np.linalg.norm(raw, axis=1) / np.linalg.norm(raw[row])
    best = np.argsort(-cosine)[1:4]
    assert [match.track_id for match in musicrec_run.similar_tracks("bass/0", 3)] == [
        musicrec_run.library.tracks.ids[item] for item in best
    ]
    control = musicrec.load_run("control", workspace)
    with pytest.raises(musicrec.MusicrecError, match="control is a control with shuffled vectors"):
        control.similar_tracks(outside)
    with pytest.raises(musicrec.MusicrecError, match=r"ease reads no embedding.*recommend\(\[track\]\)"):
        musicrec.load_run("ease", workspace).similar_tracks("bass/0")


@pytest.mark.parametrize(
    ("listener", "message"),
    [
        (99, r"99'? is not a user of knn; users include 1, 2, 3, 4, 5; for tracks give a list: recommend\(\['99'\]\)"),
        ("bass/0", r"bass/0 is not a user of knn; .*recommend\(\['bass/0'\]\)"),
        ([], r"tracks=\[\] is invalid"),
        (["bass/7"], "bass/7 is neither a track id nor an audio file"),
        (["broken"], "broken has no vector in embedding=mfcc"),
        (True, "listener=true is invalid; must be a user id or a list of tracks"),
        (None, "listener=null is invalid"),
        (1.5, "listener=.*1.5'? is invalid"),
        (Path("bass/0"), "listener=bass/0 is invalid"),
        ([1], "1 is a int; a file must be a str or a Path"),
    ],
)
def test_what_recommend_refuses(workspace: Path, listener: Any, message: str) -> None:
    with pytest.raises(musicrec.MusicrecError, match=message) as error:
        musicrec.load_run("knn", workspace).recommend(listener)
    assert "\n" not in str(error.value)


def test_runs_are_found_by_name_beginning_or_folder(workspace: Path) -> None:
    assert musicrec.load_run(workspace / "runs" / "knn").name == "knn"
    assert musicrec.load_run("pop", str(workspace)).name == "popularity"
    for name, root, message in (
        ("b", workspace, "2 runs begin with b in .*; runs: bert, bimodal"),
        ("nothing", workspace, "there is no run nothing in .*; runs: bert, bimodal, control, ease, .*, …"),
        ("knn", workspace / "gone", "there is no run knn in .*gone; runs: none"),
        ("knn", None, r"knn is not the folder of a run; give the workspace: load_run\('knn', root="),
        (3, workspace, "name='?3'? is invalid; must be the name or the folder of a run"),
        ("", workspace, "name='' is invalid"),
    ):
        arguments: Any = (name, root)
        with pytest.raises(musicrec.MusicrecError, match=message):
            musicrec.load_run(*arguments)


@pytest.fixture
def moved(workspace: Path, tmp_path: Path) -> Path:
    """Returns a copy of the workspace elsewhere."""
    return Path(shutil.copytree(workspace, tmp_path / "moved"))


def test_a_workspace_may_be_moved(workspace: Path, moved: Path) -> None:
    for name in ("bert", "bimodal", "ensemble"):
        assert musicrec.load_run(name, moved).recommend(2, 3) == musicrec.load_run(name, workspace).recommend(2, 3)


def test_what_is_not_finished_or_has_changed_is_refused(moved: Path) -> None:
    checkpoint = moved / "checkpoints" / "bert" / "bert_best.ckpt"
    checkpoint.unlink()
    run = musicrec.load_run("bert", moved)
    with pytest.raises(musicrec.MusicrecError, match="bert_best.ckpt is missing: train the run again"):
        run.recommend(1)
    (moved / "checkpoints" / "shallow" / "shallow_best.ckpt").write_bytes(b"broken")
    with pytest.raises(musicrec.MusicrecError, match="shallow_best.ckpt is damaged"):
        musicrec.load_run("shallow", moved).recommend(1)
    next((moved / "checkpoints" / "elsa").glob("*_best.ckpt")).unlink()
    with pytest.raises(musicrec.MusicrecError, match="bimodal builds on it: train the run again"):
        musicrec.load_run("bimodal", moved)
    record = moved / "runs" / "ease" / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "status": "started"}))
    with pytest.raises(musicrec.MusicrecError, match="run ease of .* is not finished: run the command"):
        musicrec.load_run("ease", moved)
    (moved / "runs" / "popularity" / "config.yaml").write_text("{")
    with pytest.raises(musicrec.MusicrecError, match="config.yaml is missing or damaged"):
        musicrec.load_run("popularity", moved)
    frame = pd.read_parquet(moved / "data" / "val.pqt")
    frame.head(1).to_parquet(moved / "data" / "val.pqt")
    with pytest.raises(musicrec.MusicrecError):
        musicrec.load_run("knn", moved)
    (moved / "trackid_sorted.csv").rename(moved / "index.csv")
    with pytest.raises(musicrec.MusicrecError, match="trackid_sorted.csv is missing: restore it, or make it with"):
        musicrec.load_run("knn", moved)
    (moved / "index.csv").rename(moved / "trackid_sorted.csv")
    (moved / "data" / "train.pqt").unlink()
    with pytest.raises(musicrec.MusicrecError, match="train.pqt"):
        musicrec.load_run("knn", moved)
