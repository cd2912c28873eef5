"""What the keys outside the groups with a `_target_` may be: those of conf/config.yaml and conf/paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from musicrec.values import Count, FileName, Seed, Text


@dataclass(frozen=True)
class TopSettings:
    """The keys that belong to no group.

    Attributes:
        seed: of everything random.
        run_name: name of the run; None = derived from the settings.
        monitor: what chooses the best epoch.
        monitor_mode: which value of it is better; None = set by train.py.
        overwrite: rerun finished runs.
        wait: for another process that trains the same run.
        export: framework that splits and vectors are written for.
        status: show how far the sweeps of the workspace are: all, the latest until it has ended, or that of a name.
    """

    seed: Seed
    run_name: FileName | None
    monitor: Text
    monitor_mode: Literal["min", "max"] | None
    overwrite: bool
    wait: bool
    export: Literal["recbole", "mmrec", "cornac"] | None
    status: bool | Text


@dataclass(frozen=True)
class EvalSettings:
    """The group `eval`.

    Attributes:
        k: cutoff of the metrics, or one per split.
        top_k: length of the stored lists.
        bootstrap: resamples of the interval; 0 = Student's t.
        margin: differences below this share of the better mean do not matter.
        repeat: tracks that a user has played may be recommended again; None = as the runs did, or not.
        pooled_ndcg: tables also show NDCG as a ratio of means.
        diversity: embedding in whose space lists are called diverse.
        groups: groups of users that are compared.
    """

    k: Count | Annotated[Mapping[str, Count], MinLen(1)]
    top_k: Annotated[int, Ge(1), Le(1_000_000)]
    bootstrap: Annotated[int, Ge(0), Le(1_000_000)]
    margin: Annotated[float, Gt(0), Lt(1)]
    repeat: bool | None
    pooled_ndcg: bool
    diversity: Text | None
    groups: Text | Sequence[Text] | None


@dataclass(frozen=True)
class InspectSettings:
    """The group `inspect`.

    Attributes:
        embeddings: measure how the vectors of every stored embedding lie in space.
        user: show this user.
        text: show the tracks nearest to this description.
        text_embedding: option of the group `embedding` whose space is used.
    """

    embeddings: bool
    user: str | None
    text: Text | None
    text_embedding: Text


@dataclass(frozen=True)
class PathSettings:
    """The group `paths`.

    Attributes:
        root: the workspace.
        output: where train.py writes.
    """

    root: Text
    output: Text


# Groups whose keys are all listed here; other keys at the top are the user's own, for interpolation.
GROUPS = {"eval": EvalSettings, "inspect": InspectSettings, "paths": PathSettings}
