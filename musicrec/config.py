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
    """Returns the option of that name of a group as written in its YAML (interpolations unresolved), {} if none."""
    from omegaconf import OmegaConf

    path = config_dir() / group / f"{name}.yaml"
    if not path.is_file():
        return {}
    values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
