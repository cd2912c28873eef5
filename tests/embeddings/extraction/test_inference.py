"""Half precision on CPUs with and without units for it."""

from __future__ import annotations

import logging

import pytest
import torch

from musicrec.embeddings.extraction.inference import warn_of_slow_precision

XEON = {"architecture": "x86_64", "amx_bf16": True, "amx_fp16": False, "avx512_fp16": True}
ZEN_3 = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False}


@pytest.mark.parametrize(
    ("capabilities", "device", "precision", "missing"),
    [
        (XEON, "cpu", "bf16", None),
        (XEON, "cpu", "fp16", "AMX-FP16"),
        (ZEN_3, "cpu", "bf16", "AMX-BF16"),
        (ZEN_3, "cpu", "fp32", None),
        (ZEN_3, "cuda", "bf16", None),
        ({"architecture": "aarch64"}, "cpu", "bf16", None),
        ({}, "cpu", "bf16", None),
    ],
)
def test_a_precision_without_units_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capabilities: dict[str, object],
    device: str,
    precision: str,
    missing: str | None,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    with caplog.at_level(logging.WARNING):
        warn_of_slow_precision(device, precision)
    expected = f"extract.precision={precision} takes longer than fp32 on this CPU, which has no {missing}"
    assert caplog.messages == ([expected] if missing else [])
