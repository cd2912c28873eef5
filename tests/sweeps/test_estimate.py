"""The estimate of a sweep's time: medians per recommender, what is not known, damaged records."""

from pathlib import Path

from musicrec.files import write_json
from musicrec.sweeps.estimate import durations, estimate


def finished(root: Path, run: str, recommender: str, seconds: float, status: str = "finished") -> None:
    """Writes the record of a run."""
    settings = {"recommender": {"name": recommender}}
    write_json(root / "runs" / run / "run.json", {"status": status, "settings": settings, "seconds": seconds})


def test_estimate(tmp_path: Path) -> None:
    for number, seconds in enumerate((100, 200, 4000)):
        finished(tmp_path, f"shallow_{number}", "shallow", seconds)
    finished(tmp_path, "knn", "knn", 10)
    finished(tmp_path, "bert", "bert", 99, status="started")
    assert durations(tmp_path) == {"knn": [10], "shallow": [100, 200, 4000]}
    # 20 jobs each: 20 × 200 s + 20 × 10 s
    assert estimate(tmp_path, {"knn": 20, "shallow": 20}) == "about 1.2 h of computing by 4 finished runs here"
    text = estimate(tmp_path, {"knn": 6, "bert": 6})
    assert text == (
        "about 1 min of computing by 1 finished run here, without the 6 jobs of bert, of which none is finished yet"
    )


def test_nothing_is_known(tmp_path: Path) -> None:
    assert estimate(tmp_path, {"knn": 3}) == ""
    (tmp_path / "runs" / "cut").mkdir(parents=True)
    (tmp_path / "runs" / "cut" / "run.json").write_text('{"status": "fin')
    write_json(tmp_path / "runs" / "old" / "run.json", {"status": "finished"})
    assert estimate(tmp_path, {"knn": 3}) == ""
