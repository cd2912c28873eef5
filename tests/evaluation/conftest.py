"""A workspace as train.py leaves it, of ten users and forty tracks, without training anything."""

import numpy as np
import pandas as pd
import pytest

from musicrec.files import file_hash, write_parquet
from musicrec.workspace import TrackIndex, Workspace

TRACKS = TrackIndex([f"t{i:02d}" for i in range(40)])
USERS = [f"user{i}" for i in range(10)]
TABLES = {"knn": "cosine", "shallow": "shallow", "bert": "bert"}


class MadeUp:
    """Writes splits and predictions: `hits` is at which ranks the user's two test tracks stand."""

    users = USERS

    def __init__(self, root):
        self.workspace = Workspace(root)

    def data(self, splits=("val", "test"), offset=0):
        pairs = [(user, (3 * row + offset + step) % 40) for row, user in enumerate(USERS) for step in range(2)]
        held_out = pd.DataFrame(pairs, columns=["user_id", "track_id"])
        train = pd.concat([held_out.assign(track_id=(held_out["track_id"] + shift) % 40) for shift in (10, 20)])
        for name, frame in {"train": train, **dict.fromkeys(splits, held_out)}.items():
            frame = frame.assign(timestamp=pd.Timestamp("2020-01-01"), count=1)
            write_parquet(frame, self.workspace.split(name), TRACKS.stamp())
        return self

    def truth(self):
        return pd.read_parquet(self.workspace.split("test"))

    def lists(self, first_hit, users=USERS):
        """Predictions of ten tracks whose hits stand at ranks first_hit and first_hit + 1 (later users: lower)."""
        rows = []
        for number, (user, of_user) in enumerate(self.truth().groupby("user_id")):
            hits = of_user["track_id"].tolist()
            others = [track for track in range(40) if track not in hits][:8]
            place = first_hit - 1 + number % 2
            rows += [(user, item, rank) for rank, item in enumerate(others[:place] + hits + others[place:], 1)]
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])
        return frame[frame["user_id"].isin(users)].assign(score=lambda f: -f["rank"] / 10)

    def run(self, recommender, embedding, first_hit, seed=0, name=None, **changes):
        name = name or f"{recommender}_{embedding}_s{seed}"
        metadata = {
            "run": name,
            "recommender": recommender,
            "embedding": embedding,
            "size": 200,
            "seed": seed,
            "table": TABLES.get(recommender),
            "settings": {"seed": seed, "recommender": {"name": recommender}, "embedding": {"name": embedding}},
            "inputs": {"splits": {path.stem: file_hash(path) for path in self.workspace.data_dir.glob("*.pqt")}},
            **TRACKS.stamp(),
            **changes,
        }
        write_parquet(self.lists(first_hit), self.workspace.predictions(name), metadata)
        return name

    def foreign(self, name, frame):
        self.workspace.preds_dir.mkdir(exist_ok=True)
        frame.to_parquet(self.workspace.predictions(name), index=False)


@pytest.fixture(scope="session")
def make_up():
    """Makes a workspace with data at a path."""
    return lambda root: MadeUp(root).data()


@pytest.fixture
def made_up(tmp_path, make_up):
    return make_up(tmp_path)


@pytest.fixture
def generator():
    return np.random.default_rng(0)
