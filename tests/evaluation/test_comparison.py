"""From preds/ to the tables: which runs count, which are shown, and what the files hold."""

import unicodedata

import numpy as np
import pandas as pd
import pytest

from musicrec.errors import MusicrecError
from musicrec.evaluation.comparison import compare
from musicrec.evaluation.metrics import metric_columns
from musicrec.evaluation.report.html_report import write_report
from musicrec.evaluation.report.tables import latex, markdown, print_comparison
from musicrec.files import parquet_metadata, write_parquet
from musicrec.workspace import TrackIndex
from tests.evaluation.made_up import TRACKS, MadeUp


def read(made_up: MadeUp, name: str) -> pd.DataFrame:
    return pd.read_csv(made_up.workspace.root / name)


def test_tables_are_sorted_by_ndcg_and_carry_size(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.run("knn", "random", first_hit=6)
    made_up.run("knn", "musicnn", first_hit=1)
    made_up.run("bert", "musicnn", first_hit=2)
    comparison = compare(made_up.workspace, 10)
    cosine = read(made_up, "cosine.csv")
    assert list(cosine.columns) == ["embedding", *metric_columns(10), "Size"]
    assert cosine["embedding"].tolist() == ["musicnn", "random"] and cosine["Size"].tolist() == [200, 200]
    assert cosine.loc[0, "MRR@10"] == pytest.approx(0.75)  # half of the users: rank 1, the others: rank 2
    assert cosine["Precision@10"].tolist() == pytest.approx([0.2, 0.2])
    assert read(made_up, "bert.csv")["embedding"].tolist() == ["musicnn"]
    assert not (made_up.workspace.root / "shallow.csv").exists()
    assert made_up.workspace.metrics("knn_random_s0", "val", "csv").exists()
    assert made_up.workspace.metrics("knn_random_s0", "test").exists()
    assert comparison.warnings == []
    print_comparison(comparison)
    printed = capsys.readouterr().out
    assert "0.7500 ± 0.1885" in printed and printed.index("cosine") < printed.index("bert")


def test_best_run_of_a_pair_is_chosen_on_val(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.run("knn", "musicnn", first_hit=1, seed=0)
    name = made_up.run("knn", "musicnn", first_hit=5, seed=1)
    # Give seed 1 a better val than test, seed 0 a worse one.
    for run, val_place in ((name, 1), ("knn_musicnn_s0", 7)):
        path = made_up.workspace.predictions(run)
        frame = pd.concat([made_up.lists(val_place).assign(split="val"), pd.read_parquet(path).assign(split="test")])
        write_parquet(frame, path, parquet_metadata(path))
    comparison = compare(made_up.workspace, 10)
    assert comparison.shown("cosine")["run"].tolist() == [name]
    everything = read(made_up, "comparison.csv")
    assert set(everything["run"]) == {"knn_musicnn_s0", name} and everything["shown"].sum() == 1
    assert len(read(made_up, "cosine.csv")) == 1
    print_comparison(comparison)
    assert "2 runs, of each pair the best on val shown (1)" in capsys.readouterr().out


def test_foreign_predictions(made_up: MadeUp) -> None:
    lists = made_up.lists(1).drop(columns="score")
    made_up.foreign("knn_other", lists.sample(frac=1, random_state=0))
    made_up.foreign("als", made_up.lists(3))
    made_up.foreign("bert_half", made_up.lists(1, users=made_up.users[:5]))
    comparison = compare(made_up.workspace, 10)
    cosine = read(made_up, "cosine.csv")
    assert cosine["embedding"].tolist() == ["other"] and np.isnan(cosine["Size"].loc[0])
    assert read(made_up, "bert.csv").loc[0, "Recall@10"] == 0.5  # users without predictions score 0
    assert comparison.shown(None)["run"].tolist() == ["als"]
    assert set(read(made_up, "comparison.csv")["run"]) == {"als", "bert_half", "knn_other"}


@pytest.mark.parametrize("indexed", [True, False])
def test_foreign_items_that_are_not_in_the_index(
    made_up: MadeUp, caplog: pytest.LogCaptureFixture, indexed: bool
) -> None:
    if indexed:
        TRACKS.save(made_up.workspace.track_index)
    lists = made_up.lists(1).drop(columns="score")
    last = lists["rank"] == 10
    made_up.foreign("knn_good", lists)
    for number, unknown in enumerate((40, 2**63 - 1, -1)):
        made_up.foreign(f"knn_some{number}", lists.assign(item_id=lists["item_id"].where(~last, unknown)))
    made_up.foreign("knn_text", lists.assign(item_id=lists["item_id"].astype(str)))
    made_up.foreign("knn_others", lists.assign(item_id=lists["item_id"] + 100))
    made_up.foreign("knn_words", lists.assign(item_id="x" + lists["item_id"].astype(str)))
    comparison = compare(made_up.workspace, 10)
    cosine = read(made_up, "cosine.csv").set_index("embedding")
    for name in ("some0", "some1", "some2", "text"):
        assert cosine["Recall@10"].loc[[name, "good"]].tolist() == [1, 1]
    assert "knn_some1.pqt: 1 of 24 items (10 of 100 rows), such as '9223372036854775807', are not in" in caplog.text
    assert len(comparison.warnings) == 2
    assert "knn_others.pqt: none of its 23 items, such as '1" in caplog.text
    assert "knn_words.pqt: none of its 23 items, such as 'x" in caplog.text


@pytest.mark.parametrize("column", ["item_id", "track_id"])
@pytest.mark.parametrize("ids", [TRACKS.ids, [str(1000 + row) for row in range(40)], [f"é{row}" for row in range(40)]])
def test_foreign_items_may_be_the_tracks_own_ids(made_up: MadeUp, column: str, ids: list[str]) -> None:
    tracks = TrackIndex(ids)
    for path in made_up.workspace.data_dir.glob("*.pqt"):
        write_parquet(pd.read_parquet(path), path, tracks.stamp())
    tracks.save(made_up.workspace.track_index)
    lists = made_up.lists(2).drop(columns="score")
    made_up.foreign("knn_idx", lists)
    own = [unicodedata.normalize("NFD", ids[item]) for item in lists["item_id"]]
    made_up.foreign("knn_own", lists.drop(columns="item_id").assign(**{column: own}))
    if ids[0].isdigit():
        made_up.foreign("knn_number", lists.drop(columns="item_id").assign(**{column: [int(one) for one in own]}))
    compare(made_up.workspace, 10)
    cosine = read(made_up, "cosine.csv")
    assert len(cosine) == 2 + ids[0].isdigit()
    assert cosine["NDCG@10"].nunique() == 1


def test_stale_and_broken_files_are_named_and_skipped(made_up: MadeUp, caplog: pytest.LogCaptureFixture) -> None:
    good = made_up.run("knn", "musicnn", 1)
    made_up.run("knn", "othertracks", 1, tracks=40, tracks_hash="0" * 16)
    made_up.run("knn", "otherdata", 1, inputs={"splits": {"train": "0"}})
    whole = made_up.workspace.predictions(good).read_bytes()
    made_up.workspace.predictions("knn_cut").write_bytes(whole[: len(whole) // 2])
    made_up.workspace.predictions("knn_text").write_text("not parquet")
    made_up.workspace.predictions(".tmp-1-knn_new").write_bytes(whole[:100])
    made_up.foreign("knn_norank", made_up.lists(1).drop(columns="rank"))
    made_up.foreign("knn_twice", pd.concat([made_up.lists(1), made_up.lists(1)]))
    comparison = compare(made_up.workspace, 10)
    assert list(comparison.runs) == [good]
    text = "\n".join(comparison.warnings)
    for name in ("othertracks", "otherdata", "cut", "text", "new", "norank", "twice"):
        assert f"knn_{name}" in text and f"knn_{name}" in caplog.text
    assert "missing column rank" in text and "twice" in text and "stale" in text and "incomplete" in text


def test_appended_tracks_keep_runs_valid_and_a_new_index_does_not(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1)
    index = made_up.workspace.track_index
    TrackIndex([*(f"t{i:02d}" for i in range(40)), "u"]).save(index)
    assert list(compare(made_up.workspace, 10).runs) == ["knn_musicnn_s0"]
    TrackIndex([f"other{i:02d}" for i in range(40)]).save(index)
    with pytest.raises(MusicrecError, match="another trackid_sorted.csv"):
        compare(made_up.workspace, 10)


def test_new_data_make_runs_stale_and_the_same_data_do_not(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1)
    made_up.data()
    assert list(compare(made_up.workspace, 10).runs) == ["knn_musicnn_s0"]
    made_up.data(offset=1)
    with pytest.raises(MusicrecError, match="no run to evaluate.*1 skipped.*train.py"):
        compare(made_up.workspace, 10)


def test_hot_cold_splits_have_a_table_each(made_up: MadeUp) -> None:
    made_up.workspace.split("test").rename(made_up.workspace.split("hot_test"))
    made_up.workspace.split("cold_test").write_bytes(made_up.workspace.split("hot_test").read_bytes())
    made_up.run("knn", "musicnn", 1, split="hot_test")
    comparison = compare(made_up.workspace, 10)
    assert comparison.splits == ["hot_test", "cold_test"] and list(comparison.tables) == ["cosine", "cosine_cold"]
    assert read(made_up, "cosine_cold.csv")["embedding"].tolist() == ["musicnn"]
    assert set(read(made_up, "comparison.csv")["split"]) == {"hot_test", "cold_test"}


def test_without_val_test_never_decides(made_up: MadeUp) -> None:
    made_up.workspace.split("val").unlink()
    made_up.run("knn", "musicnn", first_hit=5, seed=0)
    made_up.run("knn", "musicnn", first_hit=1, seed=1)
    assert compare(made_up.workspace, 10).shown("cosine")["seed"].tolist() == [0]


def test_old_table_is_named(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1)
    (made_up.workspace.root / "bert.csv").write_text("embedding,NDCG@10,Size\n")
    assert "bert.csv is from an earlier evaluation" in compare(made_up.workspace, 10).warnings[0]


def test_nothing_there(made_up: MadeUp) -> None:
    with pytest.raises(MusicrecError, match="no run to evaluate.*train.py"):
        compare(made_up.workspace, 10)
    made_up.workspace.split("test").unlink()
    with pytest.raises(MusicrecError, match="prepare.py"):
        compare(made_up.workspace, 10)


def test_empty_test_split(made_up: MadeUp) -> None:
    path = made_up.workspace.split("test")
    pd.read_parquet(path).iloc[:0].to_parquet(path)
    with pytest.raises(MusicrecError, match="no test user"):
        compare(made_up.workspace, 10)


@pytest.fixture
def marked(made_up: MadeUp) -> MadeUp:
    """Returns a workspace where musicnn beats a_b for every user, and a_c is as good as musicnn."""
    made_up.run("knn", "musicnn", 1)
    made_up.run("knn", "a_c", 1)
    made_up.run("knn", "a_b", 6)
    return made_up


def test_significance_file(marked: MadeUp) -> None:
    compare(marked.workspace, 10)
    rows = read(marked, "significance.csv").query("metric == 'NDCG@10'").set_index(["first", "second"])
    assert len(rows) == 3 and (rows["table"] == "cosine").all()
    assert rows["p_t"].loc["a_c", "musicnn"] == 1.0 and rows["p_t"].loc["a_c", "a_b"] < 0.001
    assert rows["difference"].loc["a_c", "a_b"] > 0


def test_beyond_accuracy_in_comparison(marked: MadeUp) -> None:
    compare(marked.workspace, 10)
    row = read(marked, "comparison.csv").iloc[0]
    assert 0 < row["Coverage@10"] <= 1 and row["Novelty@10"] > 0 and np.isnan(row["Diversity@10"])
    (marked.workspace.root / "embeddings").mkdir()
    for name, dim in (("random", 1), ("mert", 3), ("mfcc", 2)):
        np.save(marked.workspace.embedding(name), np.random.default_rng(0).normal(size=(40, dim)).astype(np.float32))
    assert compare(marked.workspace, 10).diversity_space == "mfcc"  # the smallest that is not random
    assert 0 < read(marked, "comparison.csv")["Diversity@10"].loc[0] < 2
    assert compare(marked.workspace, 10, diversity="mert").diversity_space == "mert"
    with pytest.raises(MusicrecError, match="extract.py embedding=absent"):
        compare(marked.workspace, 10, diversity="absent")


def test_bootstrap_intervals_are_near_students(marked: MadeUp) -> None:
    student = compare(marked.workspace, 10).results["MRR@10 conf"]
    assert compare(marked.workspace, 10, bootstrap=500).results["MRR@10 conf"].tolist() == pytest.approx(
        student.tolist(), rel=0.4
    )


def test_half_written_data(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1)
    TrackIndex([f"t{i:02d}" for i in range(40)]).save(made_up.workspace.track_index)
    path = made_up.workspace.split("test")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(MusicrecError, match="test.pqt cannot be read.*prepare.py"):
        compare(made_up.workspace, 10)


def test_lists_shorter_than_k_are_named(made_up: MadeUp, caplog: pytest.LogCaptureFixture) -> None:
    made_up.run("knn", "musicnn", 1)
    compare(made_up.workspace, 10)
    assert "are shorter" not in caplog.text
    result = compare(made_up.workspace, 11)
    assert "all lists of knn_musicnn_s0 (test) are shorter" in caplog.text
    assert result.metrics()[-1] == "NDCG@11"


def test_leave_one_out_scores_each_split_on_its_own_lists(made_up: MadeUp) -> None:
    """Predictions with a column split: val's lists were made without knowing val, test's with it."""
    good, bad = made_up.lists(1), made_up.lists(6)
    made_up.foreign("sasrec", pd.concat([good.assign(split="val"), bad.assign(split="test")]))
    row = compare(made_up.workspace, 10).results.iloc[0]
    assert row["val NDCG@10"] > 0.8 > row["NDCG@10"] > 0
    assert row["MRR@10"] == pytest.approx((1 / 6 + 1 / 7) / 2)


def test_pooled_ndcg_is_a_column_on_request(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.run("knn", "musicnn", first_hit=2)
    assert "NDCG@10 pooled" not in compare(made_up.workspace, 10).tables["cosine"]
    comparison = compare(made_up.workspace, 10, pooled=True)
    # All users have two held-out tracks, so the ideal is the same for all, and both means agree.
    row = read(made_up, "cosine.csv").iloc[0]
    assert list(read(made_up, "cosine.csv"))[-3:] == ["NDCG@10", "NDCG@10 pooled", "Size"]
    assert row["NDCG@10 pooled"] == pytest.approx(row["NDCG@10"])
    assert read(made_up, "comparison.csv")["NDCG@10 pooled"].notna().all()
    print_comparison(comparison)
    assert "NDCG@10 pooled" in capsys.readouterr().out
    assert "NDCG@10 pooled" in markdown(comparison, "cosine") and "NDCG@10 pooled" in latex(comparison, "cosine")
    assert write_report(made_up.workspace, comparison, []).read_text().count("NDCG@10 pooled") == 1


def test_runs_of_one_protocol(made_up: MadeUp, caplog: pytest.LogCaptureFixture) -> None:
    """Lists with heard tracks are compared with each other only; without a wish, the runs decide if they agree."""
    first = made_up.run("knn", "musicnn", first_hit=2, settings={"repeat": True})
    assert set(compare(made_up.workspace, 10).runs) == {first}
    second = made_up.run("knn", "random", first_hit=2)
    assert set(compare(made_up.workspace, 10).runs) == {second}
    assert f"{first}.pqt: its lists were made with eval.repeat=true; compare such runs with" in caplog.text
    assert set(compare(made_up.workspace, 10, repeat=True).runs) == {first}
    with pytest.raises(MusicrecError, match="eval.repeat=perhaps is invalid; must be true, false or null"):
        compare(made_up.workspace, 10, repeat="perhaps")  # type: ignore[arg-type]


def test_tracks_of_known_and_of_new_artists(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    """Tracks t and t + 10 share an artist in the first half of the users' truth only."""
    made_up.data()
    made_up.run("knn", "musicnn", first_hit=1)
    truth = made_up.truth()
    known = truth.groupby("user_id").track_id.first()
    artists = {track: f"artist {track}" for track in range(40)}
    rows = [f"{track},{artist}" for track, artist in artists.items()]
    (made_up.workspace.data_dir / "artists.csv").write_text("idx,artist\n" + "\n".join(rows) + "\n")
    comparison = compare(made_up.workspace, 10)
    assert comparison.artists[["artist", "users"]].values.tolist() == [["new", len(known)]]
    whole = read(made_up, "comparison.csv").set_index("split").loc["test", "NDCG@10"]
    assert comparison.artists["NDCG@10"].tolist() == pytest.approx([whole])
    rows = [f"{track},{track % 10}" for track in range(40)]  # train is the truth shifted by 10 and 20
    (made_up.workspace.data_dir / "artists.csv").write_text("idx,artist\n" + "\n".join(rows) + "\n")
    comparison = compare(made_up.workspace, 10)
    assert comparison.artists["artist"].tolist() == ["known"]
    print_comparison(comparison)
    assert "held-out tracks of artists that the user knows" in capsys.readouterr().out
    assert read(made_up, "artists.csv")["users"].tolist() == [len(known)]
