"""Fixtures of the evaluation's tests: made-up workspaces and seeded random numbers."""

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.made_up import MadeUp


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUp:
    """Returns a workspace with data and without predictions."""
    return MadeUp(tmp_path).data()


@pytest.fixture
def generator() -> np.random.Generator:
    """Returns a seeded generator."""
    return np.random.default_rng(0)
