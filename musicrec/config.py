"""The folder of the YAML configuration, what its options say, which settings differ or count."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from omegaconf import OmegaConf

if TYPE_CHECKING:
    from omegaconf import DictConfig


def config_dir() -> Path:
    """Returns the folder of the YAML groups: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def is_group(name: str) -> bool:
    """Returns whether a group of options has this name."""
    return name.isidentifier() and (config_dir() / name).is_dir()


@cache
def option(group: str, name: str) -> dict[str, Any]:
    """Returns an option of a group as written in its YAML, {} if there is none.

    Interpolations are unresolved. The options of the same group that it builds on (`defaults: [bert]`) come first.
    """
    written = _written(group, name)
    values: dict[str, Any] = {}
    for base in written.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            values |= option(group, base)
    return {**values, **{str(key): value for key, value in written.items()}}


def family(group: str, name: str) -> list[str]:
    """Returns an option of a group and those of the group that it builds on (`defaults: [bert]`), itself first."""
    bases = _written(group, name).get("defaults", [])
    return [
        name,
        *(each for base in bases if isinstance(base, str) and base != "_self_" for each in family(group, base)),
    ]


def _written(group: str, name: str) -> dict[Any, Any]:
    """Returns the content of an option's YAML, {} if there is none."""
    path = config_dir() / group / f"{name}.yaml"
    if not os.path.isfile(path):  # noqa: PTH113  (Path.is_file raises an error for a name that is too long)
        return {}
    written = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(written, dict)
    return written


def differences(old: dict[str, Any], new: dict[str, Any], most: int = 5) -> str:
    """Returns `key: old -> new` for the first few settings that differ, dotted keys for nested ones.

    >>> differences({"seed": 0, "trainer": {"precision": 16}}, {"seed": 1, "trainer": {"precision": 32}})
    'seed: 0 -> 1, trainer.precision: 16 -> 32'
    """
    before, after = _flat(old), _flat(new)
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return ", ".join(f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys[:most])


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def chosen_option(cfg: DictConfig, group: str) -> str:
    """Returns the option of a group that the command chooses; outside of a command, the name that the group has."""
    name = str(cfg[group].get("name", ""))
    return str(HydraConfig.get().runtime.choices.get(group, name)) if HydraConfig.initialized() else name


def stated_settings(cfg: DictConfig, group: str) -> set[str]:
    """Returns the keys of a group that the command or a file of the user sets.

    These are the overrides of the command line, and values that the chosen option does not have.
    """
    chosen, typed = chosen_option(cfg, group), set()
    if HydraConfig.initialized():
        words = [str(word).lstrip("+~").partition("=")[0] for word in HydraConfig.get().overrides.task]
        typed = {word.removeprefix(f"{group}.") for word in words if word.startswith(f"{group}.")}
    default = option(group, chosen) or option(group, "custom")
    values = OmegaConf.to_container(cfg[group], resolve=True)
    assert isinstance(values, dict)
    return typed | {str(key) for key, value in values.items() if key not in default or value != default[key]}


def without_unread_embedding(cfg: DictConfig) -> DictConfig:
    """Returns the configuration with `embedding=none` if its recommender reads no embedding; else as it is.

    So the run of a recommender without audio is the same whichever embedding is chosen, and a sweep over embeddings
    makes it once.
    """
    if reads_embedding(cfg):
        return cfg
    copy = cfg.copy()
    copy.embedding = option("embedding", "none")
    return copy


def reads_embedding(cfg: DictConfig) -> bool:
    """Returns whether the recommender reads an embedding that it is given; its class is imported."""
    return bool(getattr(get_class(cfg.recommender._target_), "needs", "audio") != "nothing")
