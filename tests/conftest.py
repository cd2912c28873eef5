"""Shared fixtures: composed configurations and a tiny workspace with known content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from musicrec.config import config_dir
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.workspace import Workspace

# Tests never reach a W&B server, even where a user is logged in.
os.environ["WANDB_MODE"] = "offline"
from tests.data.made_log import flat


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of a file in one of pytest-xdist's processes, and all that need a SLURM in the same one."""
    for item in items:
        needs_slurm = "cluster" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("slurm" if needs_slurm else str(item.path)))


@pytest.fixture(autouse=True)
def forget_the_command() -> Iterator[None]:
    """Makes Hydra forget the command that a test ran in this process: the next one's settings are not its overrides."""
    yield
    HydraConfig.instance().cfg = None


@pytest.fixture
def compose(tmp_path: Path) -> Callable[..., DictConfig]:
    """Returns a function that composes the configuration from overrides, with its workspace below tmp_path."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return hydra_compose("config", [f"paths.root={tmp_path}/workspace", *overrides])

    return composed


@pytest.fixture
def tiny_workspace(tmp_path: Path) -> Path:
    """Returns the root of a workspace made by the code of prepare.py: 4 users, 7 tracks, train, val and test."""
    rows = [f"{user}\tt{(user + step) % 8}\t2019-03-0{step + 1} 10:00:00" for user in range(1, 5) for step in range(4)]
    rows += [f"{user}\tt{(user + 3) % 7 + 1}\t2020-02-21 10:00:00" for user in range(1, 5)]
    log = tmp_path / "log.tsv"
    log.write_text("user_id\ttrack_id\ttimestamp\n" + "\n".join(rows) + "\n")
    source = flat(DataSource, "tiny", plays=log, start="2019-02-20", test="2020-02-20")
    prepare(source, Workspace(tmp_path / "workspace"))
    return tmp_path / "workspace"
