"""The order of tables and the rows they show."""

import pandas as pd

from musicrec.evaluation.results import shown_rows, table_order

RESULTS = pd.DataFrame(
    {
        "table": ["a", "b", "c", "d", "a", None],
        "split": ["test", "test", "cold_test", "test", "cold_test", "test"],
        "NDCG@5": [0.2, 0.3, 0.25, 0.9, 0.8, 1.0],
        "shown": [True, True, True, False, True, False],
        "embedding": ["x", "", "x", "x", "x", ""],
        "recommender": ["A", "B", "C", "D", "A", "als"],
        "run": ["a_x", "b", "c_x", "d_x", "a_x", "als"],
    }
)


def test_order_is_by_the_best_run_shown_of_the_first_split() -> None:
    assert table_order(RESULTS, ["test", "cold_test"], "NDCG@5") == ["b", "c", "a"]
    assert table_order(RESULTS.iloc[5:], ["test"], "NDCG@5") == []
    tied = RESULTS.assign(**{"NDCG@5": 1.0})
    assert table_order(tied, ["test", "cold_test"], "NDCG@5") == ["a", "b", "c"]


def test_names_of_rows() -> None:
    assert shown_rows(RESULTS, "a", "test")["row"].tolist() == ["x"]
    assert shown_rows(RESULTS, "b", "test")["row"].tolist() == ["B"]
    assert shown_rows(RESULTS, None, "test")["row"].tolist() == ["als"]
