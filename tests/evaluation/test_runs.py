"""Runs in preds/: what is known of ours and of foreign ones."""

import pytest

from musicrec.evaluation.runs import find_runs
from musicrec.files import write_text
from tests.evaluation.made_up import MadeUp


def test_foreign_files_join_the_table_of_their_prefix(made_up: MadeUp) -> None:
    made_up.run("grand_hybrid", "musicnn", 1, table="hybrid", title="Hybrid")
    for name in ("grand_hybrid_theirs", "knn_theirs", "als", "knn"):
        made_up.foreign(name, made_up.lists(1))
    infos = {run.name: run.info for run in find_runs(made_up.workspace) if run.foreign}
    assert {name: (info.table, info.embedding) for name, info in infos.items()} == {
        "grand_hybrid_theirs": ("hybrid", "theirs"),
        "knn_theirs": ("cosine", "theirs"),
        "als": (None, ""),
        "knn": (None, ""),
    }


def test_a_table_outside_the_workspace_is_refused(made_up: MadeUp) -> None:
    made_up.run("evil", "musicnn", 1, table="../../evil")
    found = find_runs(made_up.workspace)
    assert found.runs == []
    assert found.skipped[0].startswith("evil_musicnn_s0.pqt: the comparison table cannot be called '../../evil'")


@pytest.mark.parametrize(
    ("record", "told"),
    [('{"status": "finished"}', True), ('{"status": "started"}', False), ("[[", False), ("3", False)],
)
def test_a_finished_run_without_predictions_is_told(made_up: MadeUp, record: str, told: bool) -> None:
    made_up.run("knn", "musicnn", 1)
    for name in ("knn_musicnn_s0", "bert_mert_s0"):
        write_text(made_up.workspace.run_record(name), record)
    lines = [
        "bert_mert_s0.pqt: missing, though the run has finished; train it again or remove the folder runs/bert_mert_s0"
    ]
    assert find_runs(made_up.workspace).skipped == (lines if told else [])
