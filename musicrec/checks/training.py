"""Checks of what trains: trainer, optimizer, schedule, callbacks and loggers are made once, on trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Gt, Le
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins import CheckpointIO, ClusterEnvironment, Precision
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import Strategy
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from musicrec.checks.targets import TARGET, check_node
from musicrec.config import option
from musicrec.errors import MusicrecError, demand, first_line, shown
from musicrec.recommenders.trained import canonical_monitor
from musicrec.training.preemption import cluster_plugins
from musicrec.training.quiet import quiet_lightning
from musicrec.values import Count, NotNegative, Whole

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SHARE = Count | Annotated[float, Gt(0), Le(1)] | None
# What the annotations of Lightning leave open. 0 epochs or batches train nothing that could be published.
_TRAINER: dict[str, Any] = {
    "devices": Annotated[int, Ge(1), Le(1024)] | Literal[-1, "auto"] | list[Whole] | str,
    "num_nodes": Annotated[int, Ge(1), Le(65_536)],
    "max_epochs": Count,
    "min_epochs": Whole | None,
    "max_steps": Count | Literal[-1],
    "min_steps": Whole | None,
    "limit_train_batches": _SHARE,
    "limit_val_batches": _SHARE,
    "overfit_batches": Whole | Annotated[float, Ge(0), Le(1)],
    "fast_dev_run": bool | Whole,
    "check_val_every_n_epoch": Count | None,
    "num_sanity_val_steps": Whole | Literal[-1] | None,
    "log_every_n_steps": Whole | None,
    "accumulate_grad_batches": Count,
    "gradient_clip_val": NotNegative | None,
    "gradient_clip_algorithm": Literal["norm", "value"] | None,
    "reload_dataloaders_every_n_epochs": Whole,
}

_IN_TRAINER = (Strategy, Profiler, Precision, ClusterEnvironment, CheckpointIO, pl.Callback, Logger)


def check_training(cfg: DictConfig, trainable: bool) -> None:
    """Refuses values of the groups that describe a training.

    Args:
        cfg: the composed configuration; it is not changed.
        trainable: whether the recommender is trained: only then trainer, optimizer and callbacks are made, and the
            device that the trainer asks for must be there.

    Raises:
        MusicrecError: names key, value and what is allowed.
    """
    canonical_monitor(str(cfg.monitor))
    _check_trainer(cfg, trainable)
    if not trainable:
        return
    cfg = cfg.copy()
    cfg.monitor_mode, cfg.run_name = cfg.monitor_mode or "min", cfg.run_name or "run"
    _check_optimizer(cfg)
    for name, node in _container(cfg, "logger").items():
        if node is not None:
            check_node(f"logger.{name}", node, (Logger,))
    made = []
    for name, node in _container(cfg, "callbacks").items():
        if node is not None:
            check_node(f"callbacks.{name}", node, (pl.Callback,))
            with _told(f"callbacks.{name}", node):
                made.append(instantiate(node, _convert_="all"))
    _try_trainer(cfg, made)


def _container(cfg: DictConfig, group: str) -> dict[str, Any]:
    """Returns a group, resolved."""
    node = cfg.get(group)
    demand(group, node, OmegaConf.is_dict(node), "a group of settings")
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _check_trainer(cfg: DictConfig, trainable: bool) -> None:
    node = _container(cfg, "trainer")
    kinds = _TRAINER if trainable else {**_TRAINER, "max_epochs": Whole}
    check_node("trainer", node, (pl.Trainer,), kinds=kinds, nested=_IN_TRAINER)
    names = sorted({"auto", "gpu", *AcceleratorRegistry.available_accelerators()})
    accelerator = node.get("accelerator", "auto")
    demand("trainer.accelerator", accelerator, accelerator in names, ", ".join(names))
    devices = node.get("devices", "auto")
    if isinstance(devices, str):
        valid = devices == "auto" or all(word.strip().isdigit() for word in devices.split(","))
        demand("trainer.devices", devices, valid, "a whole number from 1, -1 (all), auto or a list of numbers")
    if trainable and accelerator not in ("auto", "cpu"):
        kind = "cuda" if accelerator == "gpu" and not AcceleratorRegistry["mps"]["accelerator"].is_available() else None
        found = AcceleratorRegistry[kind or ("mps" if accelerator == "gpu" else accelerator)]["accelerator"]
        if not found.is_available():
            raise MusicrecError(
                f"trainer.accelerator={accelerator} is not possible: torch {torch.__version__} finds no such device "
                "here; use trainer=cpu, or see docs/installing.md"
            )


def _check_optimizer(cfg: DictConfig) -> None:
    """Makes optimizer and schedule for one weight."""
    node, schedule = _container(cfg, "optimizer"), _container(cfg, "scheduler")
    check_node("optimizer", node, (torch.optim.Optimizer,), given=("params",), partial=True)
    with _told("optimizer", node):
        optimizer = instantiate(node)([torch.nn.Parameter(torch.zeros(1))])
    if not schedule:  # scheduler=none
        return
    check_node("scheduler", schedule, (LRScheduler,), given=("optimizer", "mode"), partial=True)
    with _told("scheduler", schedule):
        make = instantiate(schedule)
        make(optimizer, **({"mode": "min"} if issubclass(make.func, ReduceLROnPlateau) else {}))


def _try_trainer(cfg: DictConfig, made: list[pl.Callback]) -> None:
    """Makes a trainer that is not used."""
    node = _container(cfg, "trainer")
    with _told("trainer", node), quiet_lightning():
        arguments: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "plugins": cluster_plugins()}
        instantiate(cfg.trainer, callbacks=made, **arguments)


@contextmanager
def _told(key: str, node: dict[str, Any]) -> Iterator[None]:
    """Turns what a library says of its arguments into a line that names those that are not usual."""
    try:
        yield
    except MusicrecError:
        raise
    except Exception as error:
        while error.__cause__ is not None and isinstance(error.__cause__, Exception):
            error = error.__cause__  # Hydra wraps it
        if isinstance(error, MusicrecError):
            raise error from None
        usual = option(key, "default")
        changed = {name: value for name, value in node.items() if name[:1] != "_" and value != usual.get(name)}
        own = (f"{key}.{name}={shown(value)}" for name, value in changed.items())
        raise MusicrecError(f"{' '.join(own) or key}: {node[TARGET]} says: {first_line(error)}") from None
