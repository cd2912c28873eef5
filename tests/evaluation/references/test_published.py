"""The published figures: whole, as printed, with corrected intervals; files of one's own and their errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicrec.errors import MusicrecError
from musicrec.evaluation.references.published import read_published


def test_the_figures_of_2026() -> None:
    frame, study = read_published("study2026")
    assert len(frame) == 783 and "2604.23077" in study.source
    shape = frame.groupby(["split", "recommender", "control"])["embedding"].nunique()
    assert shape.to_dict()["hot_test", "bert", "real"] == 10 == shape.to_dict()["cold_test", "hybrid", "shuffled"]
    best = frame[(frame["split"] == "hot_test") & (frame["control"] == "real") & (frame["metric"] == "NDCG")]
    top = best.sort_values("mean").iloc[-1]
    assert (top["recommender"], top["mean"]) == ("elsa", 0.0631)
    cold = frame[frame["split"] == "cold_test"]
    assert set(cold["k"]) == {50} and set(cold["printed k"]) == {20}
    assert frame.loc[frame["recommender"] == "knn", "note"].str.startswith("chance").all()


def test_half_widths_have_the_right_degrees_of_freedom() -> None:
    """Two runs: t(1) = 12.706 in place of t(2) = 4.303; six runs: t(5) = 2.571."""
    frame, _ = read_published("study2026")
    chosen = frame[(frame["split"] == "hot_test") & (frame["recommender"] == "bert") & (frame["control"] == "real")]
    ndcg = {str(row["embedding"]): row for row in chosen[chosen["metric"] == "NDCG"].to_dict("records")}
    assert ndcg["jukemir"]["runs"] == 2 and ndcg["mule"]["runs"] == 6
    assert ndcg["jukemir"]["conf"] == pytest.approx(0.0056 * 12.7062 / 4.3027, rel=1e-4)
    assert ndcg["mule"]["conf"] == pytest.approx(0.0269 * 2.5706 / 4.3027, rel=1e-4)
    assert ndcg["musicnn"]["conf"] == pytest.approx(0.0014)


def test_2024_says_what_it_lacks() -> None:
    frame, study = read_published("study2024")
    assert frame["mean"].tolist() == [0.089] and "Only the KNN figure" in study.conditions[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "reference=.* is unknown; must be one of: study2024, study2026, or a .csv file"),
        ("recommender,mean\nknn,0.1\n", "lacks the column split"),
        ("split,recommender,metric,k,mean\ntest,knn,NDCG,ten,0.1\n", "has a value that is no number"),
        ("", "cannot be read"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "theirs.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MusicrecError, match=message):
        read_published(str(path))
