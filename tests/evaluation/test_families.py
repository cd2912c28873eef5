"""Tables and titles of recommenders, from runs and from the configuration."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from musicrec.evaluation import families
from musicrec.evaluation.families import Families, Family, configured, configured_family
from musicrec.evaluation.prediction_info import PredictionInfo


class Popularity:
    """Stands for a recommender's class."""

    table = "baselines"
    title = "Popularity"


class Untitled:
    """A class that names its table only."""

    table = "nearest_tracks"


class Internal:
    """A class without a table."""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replaces conf/recommender."""
    folder = tmp_path / "recommender"
    folder.mkdir()
    for name, content in {
        "pop": f"_target_: {__name__}.Popularity\nname: popularity\n",
        "popularity_mean": f"_target_: {__name__}.Untitled\n",
        "internal": f"_target_: {__name__}.Internal\n",
        "broken": "_target_: no.such.Recommender\n",
        "variant": "defaults: [pop]\nshrink: 3\n",
    }.items():
        (folder / f"{name}.yaml").write_text(content)
    monkeypatch.setattr("musicrec.config.config_dir", lambda: tmp_path)
    monkeypatch.setattr(families, "config_dir", lambda: tmp_path)
    caches = (families.option, configured, configured_family)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("options")
def test_configuration() -> None:
    assert sorted(configured()) == ["broken", "internal", "popularity", "popularity_mean"]
    assert configured_family("popularity") == Family("baselines", "Popularity")
    assert configured_family("popularity_mean") == Family("nearest_tracks", "Nearest tracks")
    assert configured_family("internal") is configured_family("broken") is configured_family("unheard of") is None


@pytest.mark.usefixtures("options")
def test_names_of_foreign_files() -> None:
    known = Families([PredictionInfo("grand_hybrid_x", "grand_hybrid", "hybrid", "Hybrid")])
    assert known.parse("popularity_mean_of_all") == ("popularity_mean", "of_all")  # the longest name that fits
    assert known.parse("popularity_artists") == ("popularity", "artists")
    assert known.parse("grand_hybrid_a_b") == ("grand_hybrid", "a_b")
    assert known.parse("popularity_") == ("popularity_", "") and known.parse("als") == ("als", "")
    assert known.table("grand_hybrid") == "hybrid" and known.table("popularity") == "baselines"
    assert known.table("als") is None


@pytest.mark.usefixtures("options")
def test_titles() -> None:
    known = Families([PredictionInfo("a", "a", "hybrid", "Hybrid"), PredictionInfo("b", "popularity", "baselines")])
    assert known.title("hybrid", ["a"]) == "Hybrid"
    assert known.title("baselines", ["popularity"]) == "Popularity"
    assert known.title("old_table", ["unheard of"]) == "Old table"


def test_a_table_of_several_recommenders_is_called_by_its_own_name() -> None:
    infos = [PredictionInfo(name, name, "no_audio", name.upper()) for name in ("ease", "elsa")]
    assert Families(infos).title("no_audio", ["ease", "elsa"]) == "No audio"
    assert Families(infos[:1]).title("no_audio", ["ease"]) == "EASE"


def test_shipped_recommenders_name_their_tables() -> None:
    for recommender, table in (("knn", "cosine"), ("shallow", "shallow"), ("bert", "bert")):
        family = configured_family(recommender)
        assert family is not None and family.table == table
