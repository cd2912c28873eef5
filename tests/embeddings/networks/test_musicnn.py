"""The network of MusicNN with dead filters, against the textbook's order of operations in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from musicrec.embeddings.networks.musicnn import MusicNNNet

BRANCHES = {"timbral1": (5, 7, 4), "timbral2": (4, 7, 9), "temporal1": (3, 16, 1), "temporal2": (3, 8, 1)}
BRANCHES["temporal3"] = (2, 5, 1)  # filters, time, mel
NORM = ("running_mean", "running_var", "weight", "bias")
FRONT = sum(filters for filters, _, _ in BRANCHES.values())


def norm_of(name: str, size: int, weights: dict[str, Tensor]) -> None:
    for part in NORM:
        weights[f"{name}.{part}"] = torch.rand(size) + 0.1 if part == "running_var" else torch.randn(size)


def random_weights(dead: float) -> dict[str, Tensor]:
    """Returns weights whose first filter of each convolution but the last is `dead`."""
    torch.manual_seed(0)
    weights: dict[str, Tensor] = {}
    shapes = {f"frontend.{name}": (filters, 1, time, mel) for name, (filters, time, mel) in BRANCHES.items()}
    middle = {"midend.layer1": (6, FRONT, 7), "midend.layer2": (6, 6, 7), "midend.layer3": (6, 6, 7)}
    for name, size in (shapes | middle).items():
        weights[f"{name}.conv.weight"] = torch.randn(size) / math.prod(size[1:]) ** 0.5
        if name != "midend.layer3":
            weights[f"{name}.conv.weight"][0] = dead
        weights[f"{name}.conv.bias"] = torch.randn(size[0])
        norm_of(f"{name}.norm", size[0], weights)
    norm_of("input_norm", 1, weights)
    pooled = 2 * (FRONT + 18)
    norm_of("backend.pool_norm", pooled, weights)
    norm_of("backend.dense_norm", 8, weights)
    for name, (rows, columns) in {"dense": (8, pooled), "output": (3, 8)}.items():
        weights[f"backend.{name}.weight"] = torch.randn(rows, columns) / 10
        weights[f"backend.{name}.bias"] = torch.randn(rows)
    return weights


def textbook(weights: dict[str, Tensor], patches: Tensor) -> dict[str, Tensor]:
    """Returns the front and middle stages: convolution, ReLU, batch norm, then the maximum over mel."""
    of = {name: values.double() for name, values in weights.items()}

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance, gamma, beta = (of[f"{name}.{part}"] for part in NORM)
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    image, front = norm("input_norm", patches.double()[:, None]), []
    for name, (_, time, _) in BRANCHES.items():
        padded = F.pad(image, (0, 0, (time - 1) // 2, time - 1 - (time - 1) // 2))
        part = f"frontend.{name}"
        convolved = F.relu(F.conv2d(padded, of[f"{part}.conv.weight"], of[f"{part}.conv.bias"]))
        front.append(norm(f"{part}.norm", convolved).amax(dim=3))
    stages = {"timbral": torch.cat(front[:2], dim=1), "temporal": torch.cat(front[2:], dim=1)}
    x = torch.cat(front, dim=1)
    for number in (1, 2, 3):
        part = f"midend.layer{number}"
        convolved = F.relu(F.conv1d(x, of[f"{part}.conv.weight"], of[f"{part}.conv.bias"], padding=3))
        x = norm(f"{part}.norm", convolved) + (x if number > 1 else 0)
        stages[f"cnn{number}"] = x
    return stages


@pytest.mark.parametrize("dead", [0.0, 1e-25, -1e-25, 1e-3])
def test_dead_filters_give_what_their_bias_gives(dead: float) -> None:
    weights, patches = random_weights(dead), 3 * torch.randn(2, 20, 12)
    net = MusicNNNet(weights, mel=12)
    first = 0 if dead == 1e-3 else 1
    alive = [part.alive[0] for part in (*net.frontend.values(), *net.midend.values())]  # type: ignore[index]
    assert alive == [first] * 7 + [0]
    found = net(patches)
    for stage, expected in textbook(weights, patches).items():
        torch.testing.assert_close(found[stage].double(), expected, rtol=2e-5, atol=2e-5, msg=stage)


def test_all_filters_of_a_layer_may_be_dead() -> None:
    weights = random_weights(0.0)
    for name, values in weights.items():
        if name.startswith(("frontend.timbral1.conv.w", "frontend.temporal2.conv.w", "midend.layer2.conv.w")):
            values.zero_()
    patches = torch.randn(1, 20, 12)
    found = MusicNNNet(weights, mel=12)(patches)
    for stage, expected in textbook(weights, patches).items():
        torch.testing.assert_close(found[stage].double(), expected, rtol=2e-5, atol=2e-5, msg=stage)
