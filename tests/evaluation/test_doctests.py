"""The examples in the docstrings are true."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "module", ["confidence", "beyond_accuracy", "metrics", "retrieval_metric", "significance", "report.tables"]
)
def test_examples(module):
    result = doctest.testmod(import_module(f"musicrec.evaluation.{module}"))
    assert result.attempted and not result.failed
