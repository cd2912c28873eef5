"""EmbeddingTable: the optimizer neither reads nor writes a frozen one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from musicrec.data.interactions import SplitData
from musicrec.recommenders.base import Inputs
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.shallow import Shallow


def test_adam_neither_reads_nor_writes_a_frozen_table(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any]
) -> None:
    model = Shallow(Inputs(many, audio, seed=0))
    tables = [module.weight for module in model.modules() if isinstance(module, EmbeddingTable)]
    frozen = [weight for weight in tables if not isinstance(weight, torch.nn.Parameter)]
    before = [weight.clone() for weight in frozen]
    assert {tuple(weight.shape) for weight in frozen} >= {(30, 8)}  # the tracks' vectors
    (optimizer,) = fit(model, 2).optimizers
    optimised = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    assert not optimised & {id(weight) for weight in frozen}
    # The first and second moments of Adam: as many numbers as what it optimises, twice.
    numbers = sum(value.numel() for state in optimizer.state.values() for value in state.values() if value.ndim)
    assert numbers == 2 * sum(weight.numel() for weight in model.parameters())
    assert all(torch.equal(one, two) for one, two in zip(before, frozen, strict=True))
    assert sum(value.numel() for value in model.state_dict().values()) == numbers // 2, "not in checkpoints either"
