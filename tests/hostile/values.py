"""Values: nonsense for every key of every option of every group; each is refused in one line or means something."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from musicrec.checks.configuration import check_settings
from musicrec.config import config_dir
from musicrec.errors import MusicrecError
from tests.hostile.trial import Count

# What nobody would take for a number, a truth value, a name of an option, a column, a file or a date.
NONSENSE = ("", "a\nb", "\0", "a" * 300, "../../x", "{}", "${", "no", "1e", "ü" * 200)
CONTAINERS: tuple[Any, ...] = ([], {}, [None], [[1]], {"a": {"b": []}}, [float("nan")], {"_target_": "os.system"})
NUMBERS: tuple[Any, ...] = (
    *(-1, 0, 1, 2, -5, 10**6, 2**31, 2**32, 2**63, -(2**63), 10**30, 10**400, True, False),
    *(0.5, 1.0, 1.5, -0.5, 1e20, 1e-300, 1e300, math.inf, -math.inf, math.nan),
)
WORDS = (
    "abc",
    "1.5",
    "64",
    "-1",
    "nan",
    "inf",
    "null",
    "true",
    "off",
    "auto",
    "all",
    "same",
    "/etc/passwd",
    "os.system",
)
POOL: tuple[Any, ...] = (None, *NONSENSE, *CONTAINERS, *NUMBERS, *WORDS)
GROUPS = ("data", "embedding", "recommender", "trainer", "optimizer", "scheduler", "callbacks", "logger", "paths")
# Composed with every case: a recommender that reads all groups.
BASE = ("recommender=shallow", "trainer=cpu", "logger=default")


@cache
def composed(group: str, option: str, root: str) -> DictConfig:
    """Returns the configuration with an option of a group; group "" is the top and the groups without options."""
    words = () if not group else (f"{group}={option}", *(["trainer.accelerator=cpu"] if group == "trainer" else []))
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("config", [f"paths.root={root}", *BASE, *words])


def keys(cfg: DictConfig, group: str) -> list[str]:
    """Returns the dotted keys of a group, of nodes within it, and the nodes themselves."""
    found: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        for key, value in node.items():
            if not prefix and (key == "hydra" or (not group and key in GROUPS)):
                continue
            found.append(f"{prefix}{key}")
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    content = OmegaConf.to_container(cfg if not group else cfg[group], resolve=False)
    walk(content, f"{group}." if group else "")
    return found


def cases() -> list[tuple[str, str]]:
    """Returns all (group, option)."""
    options = [(group, path.stem) for group in GROUPS for path in sorted((config_dir() / group).glob("*.yaml"))]
    return [*options, *([("", "")] * 6)]  # the top has many keys


def expected_refusal(default: Any, value: Any) -> bool:
    """Returns whether a value cannot mean anything, to judge by the type of the default."""
    if isinstance(value, float) and not math.isfinite(value):
        return True
    if isinstance(default, bool) or default is None:
        return False  # null may stand for any type, and true for one of several choices
    if isinstance(default, (int, float)):
        return isinstance(value, bool) or (isinstance(value, str) and value in NONSENSE)
    return isinstance(default, str) and not isinstance(default, list) and isinstance(value, dict)


def try_case(group: str, option: str, key: str, value: Any, root: str) -> str | None:
    """Checks a configuration with one value changed; returns what was not clean."""
    base = composed(group, option, root)
    cfg = base.copy()
    default = OmegaConf.select(base, key)
    OmegaConf.set_struct(cfg, False)
    try:
        OmegaConf.update(cfg, key, value, merge=False)
    except Exception:
        return None  # OmegaConf itself refuses it, as it does on the command line
    own = {"data": ("data",), "embedding": ("data", "embedding")}.get(
        group, ("data", "embedding", "extract", "recommender")
    )
    try:
        check_settings(cfg, *own)
    except MusicrecError as refused:
        text = str(refused)
        if "\n" in text or len(text) > 1000 or not text.isprintable():
            return f"not one line: {text[:200]!r}"
        named = key.partition(".")[0] in text or any(part in text for part in key.split("."))
        return None if named else f"does not name the key: {text[:200]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "accepted" if expected_refusal(default, value) else None


def trial(folder: Path, count: int, seed: int = 0) -> Count:
    """Draws `count` values: options in turn, keys and values at random by `seed`."""
    counted, rng = Count("values"), random.Random(seed)
    chosen = cases()
    rng.shuffle(chosen)
    root = str(folder / "workspace")
    for number in range(count):
        group, option = chosen[number % len(chosen)]
        names = keys(composed(group, option, root), group)
        if not names:  # logger=none
            continue
        key, value = rng.choice(names), rng.choice(POOL)
        name = f"{group}={option} " if group else ""
        shown = json.dumps(value, default=str)[:80]
        counted.add(f"{name}{key}={shown} (seed {seed})", try_case(group, option, key, value, root))
    return counted
