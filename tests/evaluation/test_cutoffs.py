"""`eval.k` as a number and per split."""

import pytest
from omegaconf import OmegaConf

from musicrec.errors import MusicrecError
from musicrec.evaluation.cutoffs import Cutoffs


def test_a_number_is_for_all_splits() -> None:
    cutoffs = Cutoffs.of(7)
    assert (cutoffs.at("val"), cutoffs.ndcg("cold_test")) == (7, "NDCG@7")
    assert Cutoffs.of(cutoffs) is cutoffs
    cutoffs.check([])


def test_a_number_per_split() -> None:
    cutoffs = Cutoffs.of(OmegaConf.create({"cold_test": 20, "hot_test": 50}))
    assert [cutoffs.at(split) for split in ("val", "hot_test", "cold_test")] == [50, 50, 20]
    assert cutoffs.columns(["hot_test", "cold_test", "val"])[4:6] == ["NDCG@50", "HitRate@20"]
    assert Cutoffs.of({"val": 5}).at("test") == 5
    with pytest.raises(MusicrecError, match="unknown split cold_test; there are val, hot_test"):
        cutoffs.check(["val", "hot_test"])


@pytest.mark.parametrize("k", [0, -1, 2.5, "fifty", True, {}, {"test": 0}, {"test": "ten"}, None])
def test_bad_values(k: object) -> None:
    with pytest.raises(MusicrecError, match=r"eval.k=.* is invalid; must be a number from 1, or one per split"):
        Cutoffs.of(k)
