"""What a _target_ may name: classes of the right kind, and nothing that could do harm is imported or called."""

import sys
from collections import OrderedDict
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint

from musicrec.checks.targets import check_node, target
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Recommender
from musicrec.recommenders.knn import KNN


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os.system", "must be a class derived from musicrec.recommenders.base.Recommender"),
        ("subprocess.Popen", "must be a class derived from"),
        ("builtins.eval", "must be a class derived from"),
        ("antigravity.x", "must be a class derived from"),
        ("torch.nn.Linear", "must be a class derived from"),
        ("musicrec.errors.shown", "must be a class derived from"),
        ("musicrec.recommenders.knn", "must be a class derived from"),
        ("musicrec.recommenders.knn.KNNN", "there is none of that name"),
        ("no_such_package.Model", "there is no module no_such_package"),
        ("KNN", "must be a class derived from"),
        ("", "must be a class derived from"),
        ("../x.KNN", "must be a class derived from"),
        ("musicrec..KNN", "must be a class derived from"),
        (3, "must be a class derived from"),
        (None, "must be a class derived from"),
    ],
)
def test_other_targets_are_refused(name: Any, message: str) -> None:
    with pytest.raises(MusicrecError, match=r"^recommender\._target_=") as refused:
        target("recommender", name, (Recommender,))
    assert message in str(refused.value)
    assert str(refused.value).isprintable()


def test_the_standard_library_is_not_imported() -> None:
    sys.modules.pop("this", None)
    with pytest.raises(MusicrecError):
        target("recommender", "this.Zen", (Recommender,))
    assert "this" not in sys.modules


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_model.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MusicrecError, match="broken_model.Mine cannot be imported: No module named 'not_installed"):
        target("recommender", "broken_model.Mine", (Recommender,))


def test_right_targets_are_found() -> None:
    assert target("recommender", "musicrec.recommenders.knn.KNN", (Recommender,)) is KNN
    assert target("callbacks.x", "pytorch_lightning.callbacks.ModelCheckpoint", (Callback,)) is ModelCheckpoint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": "abc"}, "optimizer.lr=abc is invalid"),
        ({"lr": [1]}, r"optimizer.lr=\[1\] is invalid"),
        ({"momentun": 1}, "optimizer.momentun is unknown"),
        ({"params": [1]}, "optimizer.params is unknown"),
        ({"amsgrad": "no"}, "optimizer.amsgrad='no' is invalid; must be true or false"),
        ({"_partial_": False}, "optimizer._partial_=false is invalid; must be true"),
        ({"_convert_": "some"}, "optimizer._convert_=some is invalid"),
        ({"_target_": "os.system"}, "optimizer._target_=os.system is invalid"),
        ({"lr": {"_target_": "os.system"}}, "optimizer.lr._target_=os.system is invalid"),
        ({"betas": [{"_target_": "os.system"}]}, "optimizer.betas._target_=os.system is invalid"),
    ],
)
def test_nodes_are_checked_before_they_are_made(changes: dict[str, Any], message: str) -> None:
    node = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1, **changes}
    with pytest.raises(MusicrecError, match=message):
        check_node("optimizer", node, (torch.optim.Optimizer,), given=("params",), partial=True)


@pytest.mark.parametrize("node", [None, 3, [], {}, {"lr": 1}, "torch.optim.Adam", OrderedDict()])
def test_a_node_is_a_mapping_with_a_target(node: Any) -> None:
    with pytest.raises(MusicrecError, match=r"^optimizer=.* must be a mapping with a _target_"):
        check_node("optimizer", node, (torch.optim.Optimizer,))
