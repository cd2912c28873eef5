"""The run that another one needs first: its configuration, and its model once it is trained."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class
from omegaconf import OmegaConf

from musicrec.config import config_dir, option, without_unread_embedding
from musicrec.errors import MusicrecError, demand
from musicrec.recommenders.configure import check_model, make_recommender, training_settings
from musicrec.recommenders.inputs import VAL_LOSS, Inputs
from musicrec.recommenders.trained import TrainedRecommender
from musicrec.training.checkpoints import damage, load_weights
from musicrec.training.run_name import run_name
from musicrec.workspace import Workspace

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicrec.data.interactions import SplitData

log = logging.getLogger(__name__)

# In the defaults of a YAML: `override /optimizer@_global_.optimizer: nadam`.
_OVERRIDE = re.compile(r"override /(\w+)@_global_\.\1")


def companion_config(cfg: DictConfig) -> DictConfig | None:
    """Returns the configuration of the run that the run of `cfg` needs; None if it needs none.

    It is that of `recommender=NAME` with the same data, seed and trainer, and the options in `recommender.NAME`, so a
    run of that recommender with these options is the same run and has the same name.

    Raises:
        MusicrecError: for an option that it does not have or a value that it does not allow.
    """
    name = getattr(get_class(cfg.recommender._target_), "companion", None)
    if name is None:
        return None
    defaults = option("recommender", name)
    given = OmegaConf.to_container(cfg.recommender, resolve=True).get(name) or {}  # type: ignore[union-attr]
    known = ", ".join(key for key in defaults if not key.startswith("_") and key != "name")
    demand(f"recommender.{name}", given, isinstance(given, dict), f"a group of {known}")
    if unknown := sorted(str(key) for key in given if key not in defaults or str(key).startswith("_")):
        raise MusicrecError(f"recommender.{name}.{unknown[0]} is unknown; recommender.{name} takes {known}")
    wanted = cfg.copy()
    OmegaConf.set_struct(wanted, False)
    wanted.recommender = {**defaults, **given}
    for group, chosen in _overrides(name):
        wanted[group] = option(group, chosen)
    wanted.trainer.max_epochs = wanted.recommender.max_epochs
    wanted.monitor, wanted.run_name, wanted.overwrite = VAL_LOSS, None, False
    with _named(name):
        settings: Any = OmegaConf.to_container(wanted.recommender, resolve=True)
        check_model(settings, get_class(wanted.recommender._target_))
    wanted = without_unread_embedding(wanted)
    wanted.run_name = run_name(wanted)
    return wanted


def train_companion(cfg: DictConfig, train: Callable[[DictConfig], object]) -> DictConfig | None:
    """Trains the run that the run of `cfg` needs, if it is not finished or its checkpoint is gone.

    Args:
        cfg: of the run that needs it.
        train: trains the run of a configuration unless it is finished.

    Returns:
        The configuration of the run that was needed, None if none was.
    """
    wanted = companion_config(cfg)
    if wanted is None:
        return None
    log.info("%s needs %s", run_name(cfg), wanted.run_name)
    with _named(str(wanted.recommender.name)):
        train(wanted)
        best = _best(wanted)
        if not best.is_file() or damage(best):
            log.info("%s has no usable checkpoint any more; training it again", wanted.run_name)
            wanted.overwrite = True
            train(wanted)
    return wanted


def load_companion(cfg: DictConfig, data: SplitData) -> TrainedRecommender:
    """Returns the model of a finished run.

    Args:
        cfg: what `train_companion` returned.
        data: the split, with the tracks that have no embedding.
    """
    model = make_recommender(cfg.recommender, Inputs(data, seed=int(cfg.seed), training=training_settings(cfg)))
    assert isinstance(model, TrainedRecommender)
    if _best(cfg).is_file():  # fast_dev_run writes none
        model.load_state_dict(load_weights(_best(cfg)))
    return model


def _best(cfg: DictConfig) -> Path:
    """Returns the path of the checkpoint of a run's best epoch."""
    workspace = Workspace(Path(str(cfg.paths.output)).expanduser())
    return workspace.checkpoint(str(cfg.recommender.name), str(cfg.run_name), "best")


def _overrides(name: str) -> Iterator[tuple[str, str]]:
    """Yields group and option of what a recommender's YAML overrides, as its optimizer."""
    written: Any = OmegaConf.to_container(OmegaConf.load(config_dir() / "recommender" / f"{name}.yaml"), resolve=False)
    for entry in written.get("defaults", []):
        for key, value in entry.items() if isinstance(entry, dict) else ():
            if found := _OVERRIDE.fullmatch(str(key)):
                yield found[1], str(value)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Lets messages name a companion's option as it is typed: `recommender.elsa.lr` instead of `recommender.lr`."""
    try:
        yield
    except MusicrecError as error:
        known = option("recommender", name)
        keys = "|".join(map(re.escape, known))
        text = re.sub(rf"\brecommender\.({keys})=", rf"recommender.{name}.\1=", str(error))
        raise type(error)(text) from error.__cause__
