"""`checkpoints.mert=/path`: where the weights of each embedding lie."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig, open_dict

from musicrec.config import config_dir, option
from musicrec.embeddings.configure import make_embedding, with_checkpoint
from musicrec.errors import MusicrecError
from musicrec.overrides import as_typed
from musicrec.training.run_name import run_name

Compose = Callable[..., DictConfig]
PATHS = ("checkpoints.mert=/w/mert", "checkpoints.music2vec=/w/music2vec", "checkpoints.musicnn=/w/musicnn.safetensors")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("embedding=mert",), "/w/mert"),
        (("embedding=mert", "embedding.checkpoint=/other"), "/other"),
        (("embedding=mert_95m",), None),
        (("embedding=music2vec_24khz",), "/w/music2vec"),
        (("embedding=musicnn_first",), "/w/musicnn.safetensors"),
        (("embedding=mfcc",), None),
        (("embedding=random",), None),
        (("embedding=none",), None),
        (("embedding=muq",), None),
    ],
)
def test_each_embedding_has_its_own(compose: Compose, words: tuple[str, ...], path: str | None) -> None:
    cfg = compose(*words, *PATHS)
    assert with_checkpoint(cfg).get("checkpoint") == path
    assert cfg.embedding.get("checkpoint") == (path if len(words) > 1 else None), "the configuration stays as it is"


@pytest.mark.parametrize("name", ["musicnn", "mfcc", "random"])
def test_an_embedding_is_made_whatever_others_have(compose: Compose, name: str) -> None:
    words = [word for word in PATHS if "musicnn" not in word]
    assert make_embedding(with_checkpoint(compose(f"embedding={name}", *words))).name == name


def test_a_path_does_not_change_the_run(compose: Compose) -> None:
    assert run_name(compose("embedding=mert", *PATHS)) == run_name(compose("embedding=mert"))


def test_every_embedding_with_weights_is_listed(compose: Compose) -> None:
    options = {path.stem: option("embedding", path.stem) for path in (config_dir() / "embedding").glob("*.yaml")}
    with_weights = {name for name, content in options.items() if {"hub", "mirror", "weights"} & content.keys()}
    variants = {"music2vec_24khz", "musicnn_first"}
    assert set(compose().checkpoints) == with_weights - variants


def test_unknown_names_and_values_are_one_line(compose: Compose) -> None:
    cfg = compose("embedding=mert")
    with open_dict(cfg):
        cfg.checkpoints.mertt = "/w/mert"  # as conf/local/default.yaml may have it
    with pytest.raises(
        MusicrecError, match="checkpoints.mertt=/w/mert is invalid; must be that of an option of embeddi"
    ):
        with_checkpoint(cfg)
    with pytest.raises(MusicrecError, match="checkpoints.mert=3 is invalid; must be a path"):
        with_checkpoint(compose("embedding=mert", "checkpoints.mert=3"))


def test_a_path_is_taken_as_typed(compose: Compose) -> None:
    (word,) = as_typed(["checkpoints.mert=/w/MERT (330M), v1"])
    assert with_checkpoint(compose("embedding=mert", word)).checkpoint == "/w/MERT (330M), v1"
