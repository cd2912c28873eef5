"""The made-up workspace of the evaluation's tests serves the W&B summary, too."""

from tests.evaluation.conftest import made_up, make_up

__all__ = ["made_up", "make_up"]
