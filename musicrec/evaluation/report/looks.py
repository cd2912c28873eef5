"""Looks: the colour and the marker that an embedding has in every plot and on every page of a workspace."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.evaluation.prediction_info import PredictionInfo
from musicrec.files import write_text
from musicrec.workspace import Workspace

COLORS, MARKERS = 8, 7  # how many there are; without a common divisor, so that 56 embeddings differ
GREY = COLORS  # index of the colour of all recommenders without audio


@dataclass(frozen=True)
class Look:
    """How an embedding is drawn.

    Attributes:
        color: index of the colour, below `COLORS`, or `GREY`.
        marker: index of the marker, below `MARKERS`.
        hollow: whether it is drawn as an outline, as shuffled controls are.
    """

    color: int
    marker: int
    hollow: bool = False


def real_name(info: PredictionInfo) -> str:
    """Returns the vectors that a run read as rows call them, a shuffled control as the embedding that it controls."""
    if not info.embedding:
        return ""
    options = VectorOptions.of(info.settings.get("embedding", {}))
    return " ".join([info.embedding, *replace(options, shuffle=False).words()])


def look_of(info: PredictionInfo, looks: Mapping[str, Look]) -> Look | None:
    """Returns the look of a run, hollow for a shuffled control; None if it has none.

    Args:
        info: of the run.
        looks: what `find_looks` returned.
    """
    look = looks.get(_key(info))
    return None if look is None else replace(look, hollow=info.vectors != real_name(info))


def _key(info: PredictionInfo) -> str:
    """Returns what names the look of a run: its embedding, or its recommender if it reads none."""
    return real_name(info) or f"{info.recommender} (no audio)"


def find_looks(workspace: Workspace, infos: Iterable[PredictionInfo]) -> dict[str, Look]:
    """Returns the look of each embedding, and of each recommender without audio, and remembers it in report/looks.json.

    What has a look keeps it whatever joins or leaves the workspace. Vectors of one embedding (`mert`, `mert zscore`)
    share its colour and differ in their markers; different embeddings differ in both as long as that is possible.
    Recommenders without audio are grey and differ in their markers.

    Args:
        workspace: of the report.
        infos: of the runs.

    Returns:
        `real_name`, or `{recommender} (no audio)`, to look.
    """
    bases = {_key(info): info.embedding for info in infos}
    path = workspace.root / "report" / "looks.json"
    try:
        known = _parsed(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # none yet, or damaged
        known = {}
    looks = dict(known)
    for name in sorted(bases, key=lambda name: (bases[name] != name, name)):  # an embedding before what is made of it
        if name not in looks:
            looks[name] = _next_look(looks, bases[name])
    if looks != known:
        content = {name: [look.color, look.marker] for name, look in looks.items()}
        write_text(path, json.dumps(content, indent=2) + "\n")
    return {name: looks[name] for name in bases}


def _next_look(looks: Mapping[str, Look], base: str) -> Look:
    """Returns the look of a new name, as different from the others as possible; an empty base: without audio."""
    of_base = [look.color for name, look in looks.items() if name == base or name.startswith(f"{base} ")]
    of_base = of_base if base else [GREY]
    used = [look.color for look in looks.values()]
    # Ties are settled by the order of the colours.
    color = of_base[0] if of_base else min(range(COLORS), key=used.count)
    markers = [look.marker for look in looks.values() if look.color != GREY]
    with_color = [look.marker for look in looks.values() if look.color == color]
    return Look(color, min(range(MARKERS), key=lambda marker: (with_color.count(marker), markers.count(marker))))


def _parsed(content: object) -> dict[str, Look]:
    """Returns the looks of a file's content; ValueError if it holds something else."""
    if not isinstance(content, dict):
        raise ValueError("not an object")
    looks = {}
    for name, value in content.items():
        match value:
            case [int(color), int(marker)] if 0 <= color <= GREY and 0 <= marker < MARKERS:
                looks[name] = Look(color, marker)
            case _:
                raise ValueError(f"{name}: not a look")
    return looks
