"""From the composed configuration to a recommender: which keys of its YAML are the constructor's, which are policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from musicrec.options import construct, gathered
from musicrec.recommenders.base import Recommender
from musicrec.recommenders.inputs import Inputs, Training
from musicrec.values import Count, Decay, FileName, Positive, Text, Whole, checked

# Keys of conf/recommender/*.yaml that others read: `name` begins the run's name; conf/optimizer, conf/scheduler and
# conf/trainer interpolate `lr`, `lr_patience` and `max_epochs`; conf/callbacks takes `patience` and `ema_decay`;
# `monitor` is that of conf/config.yaml unless the command line sets another. All other keys are arguments of the class.
# A recommender that is not trained has only `name`.
POLICY = ("name", "lr", "max_epochs", "patience", "lr_patience", "ema_decay", "monitor")
# The key that becomes `Inputs.cold_in_training`.
COLD_IN_TRAINING = "cold_in_training"
# What the keys that others read may be.
_KINDS = {
    COLD_IN_TRAINING: bool,
    "name": FileName,
    "lr": Positive,
    "max_epochs": Count,
    "patience": Whole,
    "lr_patience": Whole,
    "ema_decay": Decay | None,
    "monitor": Text,
}


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
    settings = {str(key): value for key, value in given.items()}
    if checked(f"recommender.{COLD_IN_TRAINING}", settings.get(COLD_IN_TRAINING, False), bool):
        inputs = replace(inputs, cold_in_training=True)
    own, others = _model_settings(settings, kind)
    return construct(kind, own, "recommender", {"inputs": inputs}, others)


def check_model(settings: Mapping[str, Any], kind: type[Recommender]) -> None:
    """Refuses what the keys of the group `recommender` cannot be, before there is anything to make one from.

    Args:
        settings: the group `recommender`.
        kind: its class.

    Raises:
        MusicrecError: names key, value and what is allowed.
    """
    own, others = _model_settings(settings, kind)
    for key in others:
        if key in settings:
            checked(f"recommender.{key}", settings[key], _KINDS[key])
    gathered(kind, own, "recommender", ("inputs",), others)


def _model_settings(settings: Mapping[str, Any], kind: type[Recommender]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the settings of a recommender's constructor, and the keys of the group that others read."""
    policy = POLICY if getattr(kind, "trainable", False) else POLICY[:1]
    others = (COLD_IN_TRAINING, *policy)
    return {key: value for key, value in settings.items() if key not in (*others, "_target_", "_partial_")}, others


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
    checked("recommender.lr", cfg.optimizer.get("lr", 1.0), Positive)
    scheduler = instantiate(cfg.scheduler) or None  # scheduler=none is an empty group
    return Training(instantiate(cfg.optimizer), scheduler, str(cfg.monitor))
