"""conf/recommender/*.yaml: complete, instantiable, and with the constructor's own defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import pytest
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from musicrec.data.interactions import SplitData


@pytest.mark.parametrize("name", ["knn", "shallow", "bert"])
def test_yaml_holds_every_argument_with_its_default(compose: Callable[..., DictConfig], name: str) -> None:
    settings = compose(f"recommender={name}").recommender
    arguments = inspect.signature(get_class(settings._target_).__init__).parameters
    defaults = {
        key: argument.default for key, argument in arguments.items() if argument.kind is inspect.Parameter.KEYWORD_ONLY
    }
    given = OmegaConf.to_container(settings, resolve=True)
    assert isinstance(given, dict)
    assert {key: value for key, value in given.items() if not str(key).startswith("_")} == defaults


@pytest.mark.parametrize("name", ["knn", "shallow", "bert"])
def test_instantiated_recommender_recommends(
    compose: Callable[..., DictConfig], ten_rows: SplitData, plane: np.ndarray, name: str
) -> None:
    factory = instantiate(compose(f"recommender={name}", "seed=3").recommender)
    model = factory(data=ten_rows, item_embeddings=plane, embedding_trainable=False)
    ids, scores = model.recommend(np.arange(4), 6)
    assert model.name == name and ids.shape == scores.shape == (4, 6)
    for user, row in enumerate(ids):
        heard = set(ten_rows.train.items[ten_rows.train.users == user].tolist())
        assert set(row.tolist()) - {-1} == set(range(6)) - heard
    assert model.trainable == (name != "knn")
    if model.trainable:
        assert model.seed == 3 and model.patience == 16 and model.max_epochs == 100
