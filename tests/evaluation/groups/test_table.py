"""Metrics and tests in groups, against the same numbers taken by hand from the predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from musicrec.errors import MusicrecError
from musicrec.evaluation.comparison import Comparison, compare
from musicrec.evaluation.metrics import per_user
from musicrec.files import file_hash, write_parquet
from musicrec.workspace import Workspace
from tests.evaluation.made_up import TRACKS, MadeUp

NUMBER = 60


class World(MadeUp):
    """Sixty users, of whom every third played more; tracks 0 to 4 are popular; two thirds have a country."""

    def __init__(self, root: Path):
        super().__init__(root)
        self.users = [f"user{number:02d}" for number in range(NUMBER)]

    def data(self, splits: object = ("val", "test"), offset: int = 0) -> World:
        generator = np.random.default_rng(0)
        train, held_out = [], []
        for number, user in enumerate(self.users):
            tracks = [number % 5, (number + 1) % 5, *(5 + generator.permutation(35)[: 4 + 4 * (number % 3)])]
            train += [(user, track) for track in tracks]
            new = [track for track in generator.permutation(40) if track not in tracks][:4]
            held_out += [(user, track) for track in new]
        frames = {"train": train, "val": held_out, "test": held_out}
        for name, pairs in frames.items():
            frame = pd.DataFrame(pairs, columns=["user_id", "track_id"])
            write_parquet(
                frame.assign(timestamp=pd.Timestamp("2020-01-01"), count=1),
                self.workspace.split(name),
                TRACKS.stamp(),
            )
        return self

    def noisy(self, recommender: str, embedding: str, share: float, seed: int) -> str:
        """Writes a run whose lists hold each held-out track with a probability; returns its name."""
        generator = np.random.default_rng(seed)
        rows: list[tuple[str, int, int]] = []
        for user, held_out in self.truth().groupby("user_id"):
            hits = [track for track in held_out["track_id"] if generator.random() < share]
            others = [track for track in generator.permutation(40) if track not in set(held_out["track_id"])]
            listed = generator.permutation([*hits, *others][:10])
            rows += [(str(user), int(track), rank) for rank, track in enumerate(listed, 1)]
        name = self.run(recommender, embedding, 1)
        path = self.workspace.predictions(name)
        metadata = {"run": name, "recommender": recommender, "embedding": embedding, "seed": 0}
        if recommender == "ease":
            metadata |= {"table": "baselines", "title": "EASE"}
        else:
            metadata |= {"table": "cosine", "title": "KNN"}
        metadata["inputs"] = {"splits": {p.stem: file_hash(p) for p in self.workspace.data_dir.glob("*.pqt")}}
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])
        write_parquet(frame, path, metadata | {"settings": {"seed": 0}} | TRACKS.stamp())
        return name


Evaluated = tuple[World, Comparison]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    world = World(tmp_path_factory.mktemp("groups")).data()
    for embedding, share, seed in (("musicnn", 0.8, 1), ("mfcc", 0.75, 2), ("random", 0.2, 3)):
        world.noisy("knn", embedding, share, seed)
    world.noisy("ease", "", 0.9, 4)
    country = [("EE", "DE", None)[number % 3] for number in range(NUMBER)]
    users = pd.DataFrame({"country": country}, index=world.users)
    return world, compare(world.workspace, 10, users=users)


def test_every_group_has_every_row(evaluated: Evaluated) -> None:
    world, _ = evaluated
    rows = pd.read_csv(world.workspace.root / "groups.csv")
    cosine = rows[rows["table"] == "cosine"]
    assert set(zip(cosine["by"], cosine["group"], strict=True)) >= {
        *(("activity", third) for third in ("low", "medium", "high")),
        *(("popularity", part) for part in ("head", "middle", "tail")),
        *(("country", land) for land in ("EE", "DE")),
    }
    sizes = cosine.groupby(["by", "group"])["row"].nunique()
    assert (sizes == 4).all()  # three embeddings and the bar
    assert cosine[cosine["by"] == "activity"].groupby("group")["users"].first().sum() == NUMBER


def test_user_groups_are_means_of_their_users(evaluated: Evaluated) -> None:
    world, comparison = evaluated
    scores = comparison.scores["knn_musicnn_s0"]["test"]
    estonian = scores[scores["user_id"].isin(world.users[::3])]["NDCG@10"]
    rows = comparison.groups.rows
    row = rows[(rows["by"] == "country") & (rows["group"] == "EE") & (rows["run"] == "knn_musicnn_s0")].iloc[0]
    assert row["NDCG@10"] == pytest.approx(estonian.mean()) and row["users"] == len(estonian) == 20
    assert 0 < row["chance"] < row["NDCG@10"]


def test_popularity_bins_restrict_the_truth_only(evaluated: Evaluated) -> None:
    world, comparison = evaluated
    truth = world.truth()
    head = truth[truth["track_id"] < 5]  # they have 120 of the 600 pairs of train: 20 %
    expected = per_user(head, pd.read_parquet(world.workspace.predictions("knn_mfcc_s0")), 10)
    rows = comparison.groups.rows
    row = rows[(rows["by"] == "popularity") & (rows["group"] == "head") & (rows["row"] == "mfcc")].iloc[0]
    assert row["Recall@10"] == pytest.approx(expected["Recall@10"].mean()) and row["users"] == len(expected)


def test_tests_are_corrected_over_pairs_and_groups(evaluated: Evaluated) -> None:
    world, comparison = evaluated
    tests = pd.read_csv(world.workspace.root / "groups_significance.csv")
    own = tests[(tests["table"] == "cosine") & (tests["by"] == "activity")]
    assert len(own) == 6 * 3  # pairs of four systems × groups
    rows = comparison.groups.rows
    low = [user for user, size in comparison_activity(world).items() if size == 6]
    first, second = (comparison.scores[f"knn_{name}_s0"]["test"].set_index("user_id") for name in ("musicnn", "random"))
    raw = ttest_rel(first.loc[low, "NDCG@10"], second.loc[low, "NDCG@10"]).pvalue
    found = own[(own["group"] == "low") & (own["first"] == "musicnn") & (own["second"] == "random")].iloc[0]
    assert raw < found["p_t"] <= 18 * raw * (1 + 1e-9) and found["users"] == len(low)
    assert set(rows["by"]) == {"activity", "mainstream", "popularity", "country"}


def comparison_activity(world: World) -> dict[str, int]:
    """Returns the number of training tracks of each user."""
    sizes = pd.read_parquet(world.workspace.split("train")).groupby("user_id").size()
    return {str(user): int(size) for user, size in sizes.items()}


def test_groups_can_be_chosen_or_left_out(evaluated: Evaluated) -> None:
    world, _ = evaluated
    chosen = compare(world.workspace, 10, groups=["popularity"])
    assert set(chosen.groups.rows["by"]) == {"popularity"}
    assert compare(world.workspace, 10, groups=None).groups.rows.empty
    assert not (world.workspace.root / "groups.csv").exists()
    with pytest.raises(MusicrecError, match="eval.groups=country is unknown"):
        compare(world.workspace, 10, groups=["country"])


def test_a_file_of_other_users(evaluated: Evaluated, caplog: pytest.LogCaptureFixture) -> None:
    world, _ = evaluated
    with pytest.raises(MusicrecError, match=r"lists none of the 60 test users \(e.g. '7' in the file, 'user"):
        compare(world.workspace, 10, users=pd.DataFrame({"age": [1]}, index=["7"]))
    compare(world.workspace, 10, users=pd.DataFrame({"age": [1, 2]}, index=world.users[:2]))
    assert "data.users does not list 58 of the 60 test users" in caplog.text


def test_small_groups_are_shown_and_not_tested(made_up: MadeUp, tmp_path: Path) -> None:
    """Ten users in thirds: three or four each."""
    made_up.run("knn", "musicnn", 1)
    made_up.run("knn", "random", 6)
    comparison = compare(Workspace(tmp_path), 10, users=pd.DataFrame({"half": list("ab" * 5)}, index=made_up.users))
    rows, tests = comparison.in_groups("cosine")
    assert set(rows.loc[rows["by"] == "half", "users"]) == {5} and tests.empty
