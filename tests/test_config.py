"""Every option of every group composes and instantiates: the constructor is the schema."""

from collections.abc import Callable

import pytest
import pytorch_lightning as pl
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from musicrec.config import config_dir, differences
from musicrec.config import option as config_option
from musicrec.embeddings.tables.vector_options import without_options
from musicrec.options import make, options_of
from musicrec.recommenders.configure import COLD_IN_TRAINING, POLICY
from musicrec.tracking.loggers import opened


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


@pytest.mark.parametrize(
    ("group", "option"),
    [(group, option) for group in ("data", "embedding", "recommender", "trainer") for option in options(group)],
)
def test_option_instantiates(compose: Callable[..., DictConfig], group: str, option: str) -> None:
    cfg = compose(f"{group}={option}", "trainer.accelerator=cpu" if option == "gpu" else "seed=0")
    node = without_options(cfg[group])
    if group == "recommender":  # made of a split, see tests/recommenders/test_configure.py
        known = {*options_of(get_class(node._target_), ("inputs",)), *POLICY, COLD_IN_TRAINING}
        assert {str(key) for key in node if not str(key).startswith("_")} <= known
    else:
        assert (instantiate(node) if group == "trainer" else make(node, group)) is not None


@pytest.mark.parametrize("option", options("embedding"))
def test_every_embedding_has_the_common_keys(compose: Callable[..., DictConfig], option: str) -> None:
    keys = {"name", "checkpoint", "max_seconds", "pad", "layer", "sample_rate"}
    keys |= {"transform", "pca", "shuffle"}
    assert keys <= set(compose(f"embedding={option}").embedding)


@pytest.mark.parametrize("option", options("experiment"))
def test_every_experiment_composes_and_resolves(compose: Callable[..., DictConfig], option: str) -> None:
    OmegaConf.to_container(compose(f"experiment={option}"), resolve=True)


@pytest.mark.parametrize("option", options("logger"))
def test_every_logger_instantiates(compose: Callable[..., DictConfig], option: str) -> None:
    cfg = compose(f"logger={option}", "run_name=x", "trainer=cpu")
    with opened(cfg.logger, {"seed": 0}) as loggers:
        assert len(loggers.opened) == len(cfg.logger)


@pytest.mark.parametrize("option", options("callbacks"))
def test_every_callback_instantiates(compose: Callable[..., DictConfig], option: str) -> None:
    cfg = compose(f"callbacks={option}", "run_name=x", "recommender=shallow", "monitor_mode=min")
    made = [instantiate(node) for node in cfg.callbacks.values()]
    assert all(isinstance(callback, pl.Callback) for callback in made)
    assert len(made) == 7


@pytest.mark.parametrize("option", options("debug"))
def test_every_debug_option_writes_apart_from_real_runs(compose: Callable[..., DictConfig], option: str) -> None:
    cfg = compose(f"debug={option}", "experiment=smoke", "monitor_mode=min")
    OmegaConf.to_container(cfg, resolve=True)
    assert cfg.paths.output == f"{cfg.paths.root}/debug"
    assert cfg.overwrite is True
    assert cfg.callbacks.best_checkpoint.dirpath.startswith(cfg.paths.output)
    assert cfg.logger.csv.save_dir.startswith(cfg.paths.output)


def test_differences_names_the_dotted_key_of_each_setting_that_differs() -> None:
    old = {"seed": 0, "trainer": {"precision": 16, "devices": 1}, "gone": 1}
    new = {"seed": 0, "trainer": {"precision": 32, "devices": 1}, "callbacks": {"x": {}}}
    assert differences(old, new) == "callbacks.x: None -> {}, gone: 1 -> None, trainer.precision: 16 -> 32"
    assert differences(old, old) == ""


def test_an_option_includes_those_that_it_builds_on() -> None:
    read = config_option("embedding", "musicnn_first")
    assert (read["name"], read["patches"], read["hop_seconds"]) == ("musicnn_first", "first", None)
    assert "defaults" not in read
    assert config_option("embedding", "nonsense") == {}


def test_every_script_has_at_most_40_lines_and_one_call_into_the_package() -> None:
    for stage in ("prepare", "extract", "train", "evaluate"):
        text = (config_dir().parent / f"{stage}.py").read_text()
        assert len(text.splitlines()) <= 40
        assert f"cli.run(stages.{stage}, cfg)" in text
