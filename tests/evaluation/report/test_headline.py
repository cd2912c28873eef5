"""The sentences on the report's first screen."""

from musicrec.evaluation.comparison import compare
from musicrec.evaluation.report.headline import answer, in_short
from tests.evaluation.made_up import MadeUp


def shuffled(recommender: str, embedding: str) -> dict[str, object]:
    options = {"name": embedding, "shuffle": True}
    return {"seed": 0, "recommender": {"name": recommender}, "embedding": options}


def test_the_answer_names_the_best_run_and_how_it_compares(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 2)
    made_up.run("knn", "random", 4)
    made_up.run("knn", "musicnn", 1, name="knn_musicnn_shuffled_s0", settings=shuffled("knn", "musicnn"))
    made_up.run("bert", "random", 3)
    made_up.run("bert", "musicnn", 4)
    made_up.run("ease", "", 1, name="ease_s0", table="baselines", title="EASE")
    comparison = compare(made_up.workspace, 10)
    # The control is better still, but does not compete.
    line = answer(comparison, "test")
    assert line.startswith("musicnn with KNN is best: NDCG@10 0.6320 [0.5857, 0.6783]; 25 % below EASE, p < 0.001; ")
    assert "; -25 % against shuffled vectors, p < 0.001" in line and ": not better than shuffled. " in line
    assert line.endswith(" musicnn is the best embedding of 1 of 2 recommenders.")
    assert in_short(comparison, "bert", "test").startswith("random: 37 % below EASE, p < 0.001; no shuffled control")
    assert in_short(comparison, "baselines", "test") == ""


def test_seeds_are_averaged(made_up: MadeUp) -> None:
    """The lucky seed of one embedding does not win against the better mean of another."""
    for embedding, first_hits in {"lucky": (1, 6, 6), "steady": (2, 2, 2)}.items():
        for seed, first_hit in enumerate(first_hits):
            settings = {"seed": seed, "recommender": {"name": "knn"}, "embedding": {"name": embedding}}
            made_up.run("knn", embedding, first_hit, seed, settings=settings)
    line = answer(compare(made_up.workspace, 10), "test")
    assert line.startswith("steady with KNN is best: NDCG@10 0.6320 [0.5857, 0.6783], 3 seeds; no shuffled control.")


def test_without_audio(made_up: MadeUp) -> None:
    made_up.run("ease", "", 1, name="ease_s0", table="baselines", title="EASE")
    made_up.run("elsa", "", 2, name="elsa_s0", table="baselines", title="ELSA")
    assert answer(compare(made_up.workspace, 10), "test").startswith(
        "No run reads audio. EASE is best: NDCG@10 0.8467 ["
    )


def test_foreign_runs_alone_have_no_answer(made_up: MadeUp) -> None:
    made_up.foreign("als", made_up.lists(1))
    assert answer(compare(made_up.workspace, 10), "test") == ""


def test_long_names_are_cut(made_up: MadeUp) -> None:
    made_up.run("knn", "W" * 200, 1, name="knn_w")
    line = answer(compare(made_up.workspace, 10), "test")
    assert line.startswith("W" * 59 + "… with KNN is best")


def test_equal_means_are_all_best(made_up: MadeUp) -> None:
    for recommender in ("knn", "bert"):
        for embedding in ("mert", "musicnn"):
            made_up.run(recommender, embedding, 2)
    line = answer(compare(made_up.workspace, 10), "test")
    assert line.endswith("mert is the best embedding of all 2 recommenders.")
