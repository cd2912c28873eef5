"""Two planted worlds, from training to controls.csv: one where audio matters and one where it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.files import write_parquet
from musicrec.workspace import TrackIndex, Workspace

STYLES, TRACKS, USERS = 20, 400, 600


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Returns a workspace whose users each play 12 tracks of one style; two tables of vectors lie beside it."""
    rng = np.random.default_rng(0)
    style = rng.permutation(np.arange(TRACKS) % STYLES)
    rows = []
    for user in range(USERS):
        tracks = rng.permutation(np.flatnonzero(style == user % STYLES))[:12]
        rows += [(user, int(track), day) for day, track in enumerate(tracks)]
    frame = pd.DataFrame(rows, columns=["user_id", "track_id", "day"])
    frame["timestamp"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame.pop("day"), unit="D")
    frame["count"] = 1
    late = frame["timestamp"] >= "2020-01-08"
    workspace = Workspace(tmp_path / "workspace")
    index = TrackIndex([f"t{number:03d}" for number in range(TRACKS)])
    index.save(workspace.track_index)
    parts = {
        "train": frame[~late],
        "val": frame[late & (frame.user_id % 2 == 0)],
        "test": frame[late & (frame.user_id % 2 == 1)],
    }
    for name, part in parts.items():
        write_parquet(part, workspace.split(name), index.stamp())
    np.save(tmp_path / "style.npy", np.eye(STYLES)[style] + 0.3 * rng.normal(size=(TRACKS, STYLES)))
    np.save(tmp_path / "noise.npy", rng.normal(size=(TRACKS, STYLES)))
    return tmp_path


@pytest.mark.parametrize("recommender", ["knn", "shallow"])
def test_the_control_tells_the_worlds_apart(compose: Callable[..., DictConfig], world: Path, recommender: str) -> None:
    options = ["data=custom", "trainer=cpu", "logger=none", "eval.k=10", "eval.top_k=10"]
    # Users are means of their items: what is learnt is the projection alone, which audio has to carry.
    own = ["trainer.max_epochs=15", "recommender.user_freeze=true", "recommender.hidden_dim=16", "recommender.lr=0.01"]
    own = [f"recommender={recommender}", *(own if recommender == "shallow" else [])]
    for name in ("style", "noise"):
        embedding = ("embedding=precomputed", f"embedding.name={name}", f"embedding.path={world}/{name}.npy")
        for shuffle in ("false", "true"):
            stages.train(compose(*options, *own, *embedding, f"embedding.shuffle={shuffle}"))
    stages.evaluate(compose(*options))
    found = pd.read_csv(world / "workspace" / "controls.csv")
    rows = {row["embedding"]: row for row in found[found.metric == "NDCG@10"].to_dict("records")}
    style, noise = rows["style"], rows["noise"]
    assert style["gain %"] > 100 and style["p_t"] < 1e-6 and style["better"]
    assert abs(noise["gain %"]) < 40 and not noise["better"]
