"""From the composed configuration to a recommender: which keys of its YAML are the constructor's, which are policy."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from musicrec.errors import demand
from musicrec.options import construct
from musicrec.recommenders.base import Recommender
from musicrec.recommenders.inputs import Inputs, Training

# Keys of conf/recommender/*.yaml that others read: `name` begins the run's name; conf/optimizer, conf/scheduler and
# conf/trainer interpolate `lr`, `lr_patience` and `max_epochs`; early stopping takes `patience`; `monitor` is that of
# conf/config.yaml unless the command line sets another. All other keys are arguments of the class. A recommender that
# is not trained has only `name`.
POLICY = ("name", "lr", "max_epochs", "patience", "lr_patience", "monitor")
# The key that becomes `Inputs.cold_in_training`.
COLD_IN_TRAINING = "cold_in_training"


def make_recommender(node: DictConfig, inputs: Inputs) -> Recommender:
    """Returns the recommender that the group `recommender` of the configuration describes.

    Args:
        node: `_target_`, arguments of its constructor, and the keys of POLICY.
        inputs: split, item embeddings, seed and training settings.

    Raises:
        MusicrecError: for a key that the constructor does not know, or a value that it refuses.
    """
    given = OmegaConf.to_container(node, resolve=True)
    assert isinstance(given, dict)
    kind: type[Recommender] = get_class(node._target_)
    if given.pop(COLD_IN_TRAINING, False):
        inputs = replace(inputs, cold_in_training=True)
    policy = POLICY if getattr(kind, "trainable", False) else POLICY[:1]
    arguments = {str(key): value for key, value in given.items() if key not in (*policy, "_target_", "_partial_")}
    return construct(kind, arguments, "recommender", {"inputs": inputs}, (COLD_IN_TRAINING, *policy))


def files_read(node: DictConfig) -> dict[str, Path]:
    """Returns what the recommender of the group reads besides splits and embedding, see `Recommender.files_read`."""
    settings = OmegaConf.to_container(node, resolve=True)
    assert isinstance(settings, dict)
    kind: type[Recommender] = get_class(node._target_)
    return kind.files_read({str(key): value for key, value in settings.items()})


def training_settings(cfg: DictConfig) -> Training:
    """Returns what the groups `optimizer` and `scheduler` and the key `monitor` say.

    Raises:
        MusicrecError: if the learning rate is not positive.
    """
    rate: Any = cfg.optimizer.get("lr", 1.0)
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    demand("recommender.lr", rate, number and 0 < rate < math.inf, "a positive number")
    scheduler = instantiate(cfg.scheduler) or None  # scheduler=none is an empty group
    return Training(instantiate(cfg.optimizer), scheduler, str(cfg.monitor))
