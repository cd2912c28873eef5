"""What is said of the device, and why a GPU that is there or was asked for is not used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from musicrec import devices
from musicrec.devices import Device, describe, gpu_problem


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*devices._IDS, *devices._NUMBERS, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "driver_version", lambda: None)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))


def test_a_device_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    cpu = describe(torch.device("cpu"), "32-true")
    assert str(cpu) == f"cpu (1 thread), precision 32-true, torch {torch.__version__}"
    assert cpu.to_json() == {"device": "cpu", "precision": "32-true", "torch": torch.__version__, "threads": 1}
    card = Device("cuda:0", "bf16-mixed", "2.11.0+cu126", "NVIDIA H100", "570.86")
    assert str(card) == "cuda:0 (NVIDIA H100, driver 570.86), precision bf16-mixed, torch 2.11.0+cu126"


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_a_gpu_is_no_problem() -> None:
    assert gpu_problem() is None


@pytest.mark.usefixtures("no_gpu")
def test_the_cause_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setenv("SLURM_JOB_GPUS", "0")
    problem = str(gpu_problem())
    assert problem.startswith("the SLURM job was given a GPU, but torch")
    assert problem.endswith("is built for CPUs only: docs/installing.md")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert gpu_problem() == (
        "the SLURM job was given a GPU, but there is no NVIDIA driver on this node: ask for another node or partition"
    )

    monkeypatch.setenv("SLURM_JOB_GPUS", "")
    monkeypatch.setattr(devices, "driver_version", lambda: "470.57")

    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update it.")

    monkeypatch.setattr(torch.cuda, "init", init)
    problem = str(gpu_problem())
    assert problem.startswith("this machine has a GPU, but torch ")
    assert (
        "(CUDA 13.0) cannot use it: The NVIDIA driver on your system is too old (found version 11040) (dri" in problem
    )
    assert "Please" not in problem

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_problem() == "this machine has a GPU, but CUDA_VISIBLE_DEVICES='' hides it"


def test_a_gpu_that_can_be_used_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("SLURM_JOB_GPUS", "0")
    assert gpu_problem() is None
