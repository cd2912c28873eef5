"""check_settings: every value that a stage reads from a composed configuration, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from musicrec.checks.settings import GROUPS, TopSettings
from musicrec.checks.targets import TARGET, target
from musicrec.config import config_dir
from musicrec.errors import MusicrecError, demand
from musicrec.options import construct, gathered
from musicrec.values import checked, fits

# Groups that are looked at only where something is trained, but are never missing.
_PRESENT = ("recommender", "trainer", "optimizer", "scheduler", "callbacks", "logger")

if TYPE_CHECKING:
    from musicrec.recommenders.base import Recommender


def check_settings(cfg: DictConfig, *groups: str) -> None:
    """Refuses what the keys and groups of a configuration cannot be.

    Args:
        cfg: the composed configuration; it is not changed.
        groups: those with a `_target_`, and `extract`, that the stage reads: their classes are imported. `recommender`
            stands for all groups that describe a training.

    Raises:
        MusicrecError: names key, value and what is allowed, for the first such value.
    """
    _check_group(cfg, "", TopSettings)
    for name, kind in GROUPS.items():
        demand(name, cfg.get(name), isinstance(cfg.get(name), DictConfig), "a group of settings")
        _check_group(cfg[name], f"{name}.", kind)
    for name in _PRESENT:
        demand(name, cfg.get(name), isinstance(cfg.get(name), DictConfig), "a group of settings")
    for key in ("root", "output"):
        _check_folder(f"paths.{key}", str(cfg.paths[key]))
    for name in groups:
        node = cfg.get(name)
        if name == "extract":
            demand(name, node, isinstance(node, DictConfig), "a group of settings")
            _check_extract(node)
        else:
            demand(name, node, isinstance(node, DictConfig) and TARGET in node, f"an option: {_options(name)}")
            _CHECKS[name](cfg)


def _check_group(node: DictConfig, prefix: str, kind: type) -> None:
    """Refuses values of keys that a dataclass describes; below a group also other keys."""
    kinds = get_type_hints(kind, include_extras=True)
    values = {str(key): _resolved(node, key, key in kinds) for key in node if not prefix or key in kinds}
    if prefix and (unknown := [key for key in node if key not in kinds]):
        raise MusicrecError(f"{prefix}{unknown[0]!s} is unknown; the group has {', '.join(kinds)}")
    for field in fields(kind):
        if field.name in values:
            checked(f"{prefix}{field.name}", values[field.name], kinds[field.name])
    if not prefix and (missing := [key for key in kinds if key not in node]):
        raise MusicrecError(f"{missing[0]} is missing from the configuration")
    infinite = [key for key, value in values.items() if not prefix and not fits(value, Any)]
    if infinite:
        demand(infinite[0], values[infinite[0]], False, "made of finite numbers")


def _resolved(node: DictConfig, key: Any, known: bool) -> Any:
    """Returns a value as Python has it; None for a group, because groups are looked at one by one."""
    value = node._get_node(key)
    if isinstance(value, DictConfig) and node._get_parent() is None and not known:
        return None
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else node[key]


def _check_folder(key: str, path: str) -> None:
    """Refuses a path that is no folder and cannot become one."""
    try:
        folder = Path(path).expanduser()
        above = next((each for each in (folder, *folder.parents) if each.exists()), folder)
        valid = "\0" not in path and (above.is_dir() or not above.exists())
    except (OSError, RuntimeError, ValueError):  # too long, or the home of nobody
        valid = False
    demand(key, path, valid, "a folder, or a path where one can be made")


def _options(group: str) -> str:
    """Returns the names of the options of a group."""
    return ", ".join(sorted(path.stem for path in (config_dir() / group).glob("*.yaml")))


def _settings(node: DictConfig, key: str) -> dict[str, Any]:
    """Returns a group without Hydra's keys, resolved."""
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, Mapping)
    refused = [name for name in ("_args_", "_recursive_", "_convert_") if name in values]
    if refused:
        raise MusicrecError(f"{key}.{refused[0]} has no meaning here: remove it")
    checked(f"{key}._partial_", values.get("_partial_", True), bool)
    return {str(name): value for name, value in values.items() if name not in (TARGET, "_partial_")}


def _check_data(cfg: DictConfig) -> None:
    from musicrec.data.source import DataSource

    make = target("data", cfg.data[TARGET], (DataSource,))
    construct(make, _settings(cfg.data, "data"), "data")


def _check_embedding(cfg: DictConfig) -> None:
    from musicrec.embeddings.base import Embedding
    from musicrec.embeddings.configure import make_embedding, with_checkpoint
    from musicrec.embeddings.tables.vector_options import VectorOptions

    VectorOptions.of(_settings(cfg.embedding, "embedding"))
    target("embedding", cfg.embedding[TARGET], (Embedding,))
    known = cfg.get("checkpoints")
    demand("checkpoints", known, known is None or isinstance(known, DictConfig), "a group of paths by embedding")
    make_embedding(with_checkpoint(cfg))


def _check_recommender(cfg: DictConfig) -> None:
    from musicrec.checks.training import check_training
    from musicrec.recommenders.base import Recommender
    from musicrec.recommenders.configure import check_model
    from musicrec.training.companion import companion_config

    make: type[Recommender] = target("recommender", cfg.recommender[TARGET], (Recommender,))  # type: ignore[assignment]
    check_model(_settings(cfg.recommender, "recommender"), make)
    check_training(cfg, make.trainable)
    companion_config(cfg)


def _check_extract(node: DictConfig) -> None:
    from musicrec.embeddings.extraction.extract import extract

    values = _settings(node, "extract")
    checked("extract.check", values.pop("check", False), bool)
    gathered(extract, values, "extract", ("embedding", "workspace", "tracks", "files"), ("check",))


_CHECKS = {"data": _check_data, "embedding": _check_embedding, "recommender": _check_recommender}
