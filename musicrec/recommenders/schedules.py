"""Learning-rate schedules that follow what is monitored: which of them may lower the rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau


class MetricPlateau(ReduceLROnPlateau):
    """A plateau that also follows a metric of the lists (`scheduler=plateau_metric`).

    A metric of a thousand val users jumps more between two epochs than it rises in ten, so epochs without a better
    value come by chance: with a patience of 5 the rate is a millionth of its start before the model has learnt much
    (benchmarks/RESULTS.md). That is why `ReduceLROnPlateau` itself is kept from following a metric.
    """


def is_plateau(scheduler: Callable[..., Any]) -> bool:
    """Returns whether a class, or a partial of it, makes a schedule that follows the monitor."""
    return _made_from(scheduler, ReduceLROnPlateau)


def follows_metrics(scheduler: Callable[..., Any]) -> bool:
    """Returns whether a class, or a partial of it, may follow a metric."""
    return _made_from(scheduler, MetricPlateau)


def _made_from(scheduler: Callable[..., Any], kind: type) -> bool:
    made = getattr(scheduler, "func", scheduler)
    return inspect.isclass(made) and issubclass(made, kind)
