"""A workspace as train.py leaves it, of ten users and forty tracks, without training anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from musicrec.evaluation.prediction_info import PredictionInfo
from musicrec.files import file_hash, write_parquet
from musicrec.workspace import TrackIndex, Workspace

TRACKS = TrackIndex([f"t{i:02d}" for i in range(40)])
USERS = [f"user{i}" for i in range(10)]
FAMILIES = {"knn": ("cosine", "KNN"), "shallow": ("shallow", "Shallow net"), "bert": ("bert", "BERT4Rec")}


class MadeUp:
    """Writes splits and predictions: `hits` is at which ranks the user's two test tracks stand."""

    users = USERS

    def __init__(self, root: Path):
        self.workspace = Workspace(root)

    def data(self, splits: Sequence[str] = ("val", "test"), offset: int = 0) -> "MadeUp":
        """Writes train and the held-out splits; another offset makes other data."""
        pairs = [(user, (3 * row + offset + step) % 40) for row, user in enumerate(USERS) for step in range(2)]
        held_out = pd.DataFrame(pairs, columns=["user_id", "track_id"])
        train = pd.concat([held_out.assign(track_id=(held_out["track_id"] + shift) % 40) for shift in (10, 20)])
        for name, frame in {"train": train, **dict.fromkeys(splits, held_out)}.items():
            frame = frame.assign(timestamp=pd.Timestamp("2020-01-01"), count=1)
            write_parquet(frame, self.workspace.split(name), TRACKS.stamp())
        return self

    def truth(self, split: str = "test") -> pd.DataFrame:
        """Returns the pairs of a held-out split."""
        return pd.read_parquet(self.workspace.split(split))

    def lists(self, first_hit: int, users: Sequence[str] = USERS, split: str = "test") -> pd.DataFrame:
        """Predictions of ten tracks whose hits stand at ranks first_hit and first_hit + 1 (later users: lower)."""
        rows: list[tuple[object, int, int]] = []
        for number, (user, held_out) in enumerate(self.truth(split).groupby("user_id")):
            hits = held_out["track_id"].tolist()
            others = [track for track in range(40) if track not in hits][:8]
            before = first_hit - 1 + number % 2
            rows += [(user, item, rank) for rank, item in enumerate(others[:before] + hits + others[before:], 1)]
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])
        return frame[frame["user_id"].isin(users)].assign(score=lambda f: -f["rank"] / 10)

    def run(
        self,
        recommender: str,
        embedding: str,
        first_hit: int,
        seed: int = 0,
        name: str | None = None,
        split: str = "test",
        **changes: Any,
    ) -> str:
        """Writes the predictions of a run of ours and returns its name; `changes` are of its metadata."""
        name = name or f"{recommender}_{embedding}_s{seed}"
        table, title = FAMILIES.get(recommender, (None, None))
        settings = {"seed": seed, "recommender": {"name": recommender}, "embedding": {"name": embedding}}
        metadata = PredictionInfo(
            run=name,
            recommender=recommender,
            table=table,
            title=title,
            embedding=embedding,
            size=200,
            seed=seed,
            settings=settings,
            inputs={"splits": {path.stem: file_hash(path) for path in self.workspace.data_dir.glob("*.pqt")}},
            **TRACKS.stamp(),
        ).to_json()
        metadata |= changes
        write_parquet(self.lists(first_hit, split=split), self.workspace.predictions(name), metadata)
        return name

    def foreign(self, name: str, frame: pd.DataFrame) -> None:
        """Writes predictions as another program does, without our metadata."""
        self.workspace.preds_dir.mkdir(exist_ok=True)
        frame.to_parquet(self.workspace.predictions(name), index=False)
