"""benchmarks/gpu_check.py on a CPU: the tables are complete, and a device that computes something else is noticed."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from musicrec.config import config_dir


@pytest.fixture(scope="module")
def check() -> ModuleType:
    path = config_dir().parent / "benchmarks" / "gpu_check.py"
    spec = importlib.util.spec_from_file_location("gpu_check", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(printed: str) -> dict[str, list[str]]:
    """Returns the cells of the printed tables by the first one of their row."""
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("|")]
    return {first: rest for first, *rest in lines}


def test_the_cpu_equals_itself(check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    check.main(["--device", "cpu", "--encoders", "mfcc,muq"])
    table = rows(capsys.readouterr().out)
    for encoder, half in (("mfcc", "1.000000"), ("muq", "refused")):
        difference, bf16, fp16, speed = table[encoder]
        assert (float(difference), fp16) == (0, half)
        assert float(bf16) > 0.999
        assert float(speed) > 0
    for recommender in ("bert", "sasrec", "shallow", "elsa"):
        assert [float(value) for value in table[recommender]] == [0, 0, 0]
    assert "1.000" in table


def test_a_device_with_other_numbers_is_noticed(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real = check.encoder

    def wrong(option: str) -> Any:
        model = real(option)
        embed = model.embed
        calls: list[None] = []

        def off(waves: list[np.ndarray]) -> np.ndarray:
            calls.append(None)
            return np.asarray(embed(waves) * (1 if len(calls) == 1 else 1.01))

        model.embed = off
        return model

    monkeypatch.setattr(check, "encoder", wrong)
    ((_, difference, *_),) = check.encoders("cpu", ["mfcc"])
    assert float(difference) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--encoders", "mrt"], "mrt is unknown; choose from musicnn"), (["--device", "cuda:99"], "use --device cpu")],
)
def test_mistakes_are_named(
    check: ModuleType, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if check.torch.cuda.is_available() and "cuda:99" in arguments:
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        check.main(arguments)
    assert message in capsys.readouterr().err
