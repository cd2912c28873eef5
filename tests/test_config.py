"""Every option of every group composes and instantiates: the constructor is the schema."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from musicrec.config import config_dir


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


@pytest.mark.parametrize(
    ("group", "option"),
    [(group, option) for group in ("data", "embedding", "recommender", "trainer") for option in options(group)],
)
def test_option_instantiates(compose: Callable[..., DictConfig], group: str, option: str) -> None:
    cfg = compose(f"{group}={option}", "trainer.accelerator=cpu" if option == "gpu" else "seed=0")
    assert instantiate(cfg[group]) is not None


@pytest.mark.parametrize("option", options("embedding"))
def test_every_embedding_has_the_common_keys(compose: Callable[..., DictConfig], option: str) -> None:
    keys = {"name", "checkpoint", "max_seconds", "pad", "layer", "sample_rate"}
    assert keys <= set(compose(f"embedding={option}").embedding)


@pytest.mark.parametrize("option", options("experiment"))
def test_every_experiment_composes_and_resolves(compose: Callable[..., DictConfig], option: str) -> None:
    OmegaConf.to_container(compose(f"experiment={option}"), resolve=True)


@pytest.mark.parametrize("option", options("logger"))
def test_every_logger_instantiates(compose: Callable[..., DictConfig], option: str, tmp_path: Path) -> None:
    from musicrec.tracking.loggers import finish_wandb

    cfg = compose(f"logger={option}", "run_name=x", "trainer=cpu")
    made = instantiate(cfg.logger)
    assert set(made) == set(cfg.logger)
    assert all(logger is not None for logger in made.values())
    finish_wandb()


def test_every_script_has_at_most_40_lines_and_one_call_into_the_package() -> None:
    for stage in ("prepare", "extract", "train", "evaluate"):
        text = (config_dir().parent / f"{stage}.py").read_text()
        assert len(text.splitlines()) <= 40
        assert f'cli.run("{stage}", cfg)' in text
