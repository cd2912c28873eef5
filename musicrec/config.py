"""The folder of the YAML configuration and what its options say."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any


def config_dir() -> Path:
    """Returns the folder of the YAML groups: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


@cache
def option(group: str, name: str) -> dict[str, Any]:
    """Returns the option of that name of a group as written in its YAML (interpolations unresolved), {} if none.

    Options of the same group that its defaults list names come first, as Hydra composes them.
    """
    from omegaconf import OmegaConf

    path = config_dir() / group / f"{name}.yaml"
    if not path.is_file():
        return {}
    values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(values, dict)
    composed: dict[str, Any] = {}
    for parent in values.pop("defaults", []):
        if isinstance(parent, str) and parent != "_self_":
            composed.update(option(group, parent))
    return {**composed, **{str(key): value for key, value in values.items()}}
