"""Whether tracks that a user has played count as hits (`eval.repeat`), agreed on by the runs that are compared."""

from __future__ import annotations

from dataclasses import replace

from musicrec.errors import demand
from musicrec.evaluation.runs import FoundRuns, Run


def with_one_protocol(found: FoundRuns, asked: bool | None) -> tuple[FoundRuns, bool]:
    """Returns the runs whose lists were made with the same `eval.repeat`, and its value.

    Lists with and without heard tracks are measured by different truths, so they cannot be in one comparison. Runs of
    the other kind are added to those that are skipped. What other programs made is taken as meant for either.

    Args:
        found: the runs of a workspace.
        asked: the value wanted; None: that of the runs if they agree, otherwise False.

    Raises:
        MusicrecError: if `asked` is no truth value.
    """
    demand("eval.repeat", asked, asked is None or isinstance(asked, bool), "true, false or null")
    values = {_repeats(run) for run in found if not run.foreign}
    repeat = values == {True} if asked is None else asked
    other = [run for run in found if not run.foreign and _repeats(run) != repeat]
    flag = "false" if repeat else "true"
    lines = [
        f"{run.path.name}: its lists were made with eval.repeat={flag}; compare such runs with python evaluate.py "
        f"eval.repeat={flag}"
        for run in other
    ]
    kept = [run for run in found if run.foreign or _repeats(run) == repeat]
    return replace(found, runs=kept, skipped=[*found.skipped, *lines]), repeat


def _repeats(run: Run) -> bool:
    return run.info.settings.get("repeat") is True
