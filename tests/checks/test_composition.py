"""What Hydra refuses is one line, unless HYDRA_FULL_ERROR asks for all."""

import os

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError

from musicrec.checks.composition import composition, composition_problem, refuse_no_option
from musicrec.errors import MusicrecError


@pytest.mark.parametrize("word", ["data=null", "recommender=", "optimizer=null", "paths=null"])
def test_a_needed_group_has_an_option(word: str) -> None:
    group = word.partition("=")[0]
    with pytest.raises(MusicrecError, match=rf"^{group}=null is invalid; must be an option: [a-z0-9_]+"):
        refuse_no_option(["seed=1", word])


def test_other_groups_may_be_empty() -> None:
    refuse_no_option(["logger=null", "debug=null", "data=demo", "recommender.lr=null"])


def test_hydras_errors_become_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(MusicrecError, match="^no such option Did you mean this[?]$"), composition():
        assert os.environ["HYDRA_FULL_ERROR"] == "1"
        raise ConfigCompositionException("no such option\n  object_type=dict\n\nDid you mean this?")
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_all_is_shown_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigCompositionException), composition():
        raise ConfigCompositionException("no such option")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_the_problem_tells_its_cause_once_and_is_cut() -> None:
    with pytest.raises(InterpolationKeyError) as wrong:
        _ = OmegaConf.create({"a": "${b}"}).a
    assert composition_problem(wrong.value).startswith("Interpolation key 'b' not found full_key: a")
    assert len(composition_problem(ConfigCompositionException("x" * 5000))) == 1000
