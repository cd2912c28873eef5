"""Which colour and marker an embedding has, and that it keeps them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from musicrec.evaluation.prediction_info import PredictionInfo
from musicrec.evaluation.report.looks import COLORS, GREY, MARKERS, Look, find_looks, look_of, real_name
from musicrec.files import write_text
from musicrec.workspace import Workspace


def info(embedding: str, **options: object) -> PredictionInfo:
    return PredictionInfo("knn_x", "knn", embedding=embedding, settings={"embedding": options})


def test_a_new_embedding_changes_no_look(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    first = find_looks(workspace, [info("mert"), info("musicnn")])
    assert first == {"mert": Look(0, 0), "musicnn": Look(1, 1)}
    both = find_looks(workspace, [info("clap"), info("musicnn"), info("mert")])
    assert both == {**first, "clap": Look(2, 2)}
    assert find_looks(workspace, [info("musicnn")]) == {"musicnn": first["musicnn"]}
    assert find_looks(workspace, [info("mert"), info("zz")])["mert"] == first["mert"]


def test_as_many_embeddings_as_possible_differ_in_both(tmp_path: Path) -> None:
    looks = find_looks(Workspace(tmp_path), [info(f"e{number:02d}") for number in range(COLORS * MARKERS)])
    assert len(set(looks.values())) == COLORS * MARKERS
    first = [looks[f"e{number:02d}"] for number in range(MARKERS)]
    assert len({look.color for look in first}) == len({look.marker for look in first}) == MARKERS


def test_vectors_of_one_embedding_share_its_colour_and_a_control_its_look(tmp_path: Path) -> None:
    runs = [info("musicnn", transform="zscore"), info("musicnn"), info("musicnn", shuffle=True), info("mert"), info("")]
    looks = find_looks(Workspace(tmp_path), runs)
    assert set(looks) == {"musicnn", "musicnn zscore", "mert", "knn (no audio)"}
    assert looks["musicnn zscore"].color == looks["musicnn"].color != looks["mert"].color
    assert looks["musicnn zscore"].marker != looks["musicnn"].marker
    assert real_name(runs[2]) == "musicnn"
    assert look_of(runs[2], looks) == replace(looks["musicnn"], hollow=True)
    assert look_of(runs[1], looks) == looks["musicnn"] and look_of(info("clap"), looks) is None


def test_what_reads_no_audio_is_grey_and_takes_no_colour(tmp_path: Path) -> None:
    bars = [PredictionInfo("x", name) for name in ("ease", "elsa", "popularity")]
    looks = find_looks(Workspace(tmp_path), [*bars, info("mert")])
    greys = [look_of(bar, looks) for bar in bars]
    assert len(set(greys)) == 3 and all(look is not None and look.color == GREY for look in greys)
    assert looks["mert"] == Look(0, 0)


@pytest.mark.parametrize("content", ["", "[]", '{"mert": [99, 0]}', '{"mert": "blue"}', '{"mert": [true]}', "\x00"])
def test_a_damaged_file_is_made_again(tmp_path: Path, content: str) -> None:
    path = tmp_path / "report" / "looks.json"
    write_text(path, content)
    assert find_looks(Workspace(tmp_path), [info("mert")]) == {"mert": Look(0, 0)}
    assert json.loads(path.read_text()) == {"mert": [0, 0]}
