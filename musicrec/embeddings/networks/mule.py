"""The network of MULE: two normaliser-free convolutional paths over a log-mel window, a slow and a fast one.

Written from a description of the published architecture, not from its code (which is under the GPL):
McCallum, Korzeniowski, Oramas, Gouyon, Ehmann: "Supervised and Unsupervised Learning of Audio Representations for Music
Understanding", ISMIR 2022 (SF-NFNet-F0); Wang, Luc, Wu, et al.: "Towards Learning Universal Audio Representations",
ICASSP 2022; Brock, De, Smith, Simonyan: "High-Performance Large-Scale Image Recognition Without Normalization", ICML
2021.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Blocks of the four stages, and by how much the first block of each divides the frequencies.
_DEPTHS = (1, 2, 6, 3)
_DOWNSAMPLING = (1, 2, 2, 2)
# What makes GELU keep the variance of its input.
_ACTIVATION_GAIN = 1.7015043497085571
# The sizes of the published model, in the names of its `config.json`.
PUBLISHED: dict[str, Any] = {
    "slow_stem_channels": [16, 32, 64, 128],
    "slow_stem_kernels": [[3, 1], [3, 1], [3, 1], [3, 3]],
    "slow_stem_strides": [[2, 8], [1, 1], [1, 1], [2, 2]],
    "fast_stem_channels": [2, 4, 8, 16],
    "fast_stem_kernels": [[3, 3], [3, 3], [3, 3], [3, 3]],
    "fast_stem_strides": [[2, 2], [1, 1], [1, 1], [2, 2]],
    "slow_stage_in": [256, 512, 1024, 4608],
    "slow_stage_out": [256, 512, 1536, 1536],
    "fast_stage_in": [16, 32, 64, 192],
    "fast_stage_out": [32, 64, 192, 192],
    "slow_group_size": 128,
    "fast_group_size": 16,
    "block_kernels": [[1, 1], [1, 3], [3, 1], [1, 1]],
    "fusion_input_channels": [32, 32, 64, 192],
    "fusion_output_channels": [128, 256, 512, 3072],
    "fusion_time_kernel": 7,
    "fusion_time_stride": 4,
    "alpha": 0.2,
    "ws_eps": 1e-4,
    "weight_standardization": True,
}


class MuleNet(nn.Module):
    """Windows of log-mel spectra to vectors. Kernels and strides are (frequency, time)."""

    def __init__(self, config: dict[str, Any]):
        """Builds the network without weights.

        Args:
            config: all that `PUBLISHED` has.
        """
        super().__init__()
        kernel, stride = (1, config["fusion_time_kernel"]), (1, config["fusion_time_stride"])
        self.slow_stem, self.fast_stem = (_Stem(config, path) for path in ("slow", "fast"))
        self.slow_stages, self.fast_stages = (
            nn.ModuleList(_Stage(config, path, number) for number in range(len(_DEPTHS))) for path in ("slow", "fast")
        )
        entering = [config["fast_stem_channels"][-1], *config["fast_stage_out"][:-1]]
        self.fusions = nn.ModuleList(
            _Fusion(fast, hidden, after, kernel, stride)
            for fast, hidden, after in zip(
                entering, config["fusion_input_channels"], config["fusion_output_channels"], strict=True
            )
        )

        if config["weight_standardization"]:
            for conv in self._convolutions():
                conv.gain = nn.Parameter(torch.ones(conv.out_channels))

    def fuse(self, epsilon: float) -> None:
        """Standardises the weights of every convolution that has a gain, and multiplies the gain into them.

        Per output channel: (w - mean) gain / sqrt(max(variance * fan-in, epsilon)), with the population variance.
        """
        for conv in self._convolutions():
            if conv.gain is not None:
                rows = conv.weight.double().flatten(1)
                scale = conv.gain.double() * (rows.var(1, correction=0) * rows.shape[1]).clamp_min(epsilon).rsqrt()
                rows = (rows - rows.mean(dim=1, keepdim=True)) * scale[:, None]
                conv.weight = nn.Parameter(rows.reshape(conv.weight.shape).float(), requires_grad=False)
                conv.gain = None

    def _convolutions(self) -> list[_Conv]:
        return [module for module in self.modules() if isinstance(module, _Conv)]

    def forward(self, windows: Tensor) -> Tensor:
        """Returns one vector per window, (windows, dim), of standardised spectra (windows, 1, mel, frames)."""
        slow, fast = self.slow_stem(windows), self.fast_stem(windows)
        for fusion, slow_stage, fast_stage in zip(self.fusions, self.slow_stages, self.fast_stages, strict=True):
            slow = slow_stage(torch.cat([slow, fusion(fast)], dim=1))
            fast = fast_stage(fast)
        return _activate(torch.cat([slow.float().mean(dim=(2, 3)), fast.float().mean(dim=(2, 3))], dim=1))


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow pads: output ceil(input / stride), the odd zero after the input."""

    gain: nn.Parameter | None

    def __init__(
        self,
        before: int,
        after: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        groups: int = 1,
    ):
        super().__init__(before, after, kernel, stride, groups=groups)
        self.register_parameter("gain", None)

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            missing = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding = [missing // 2, missing - missing // 2, *padding]  # F.pad begins with the last axis
        return super().forward(F.pad(x, padding) if any(padding) else x)


class _Stem(nn.Module):
    """Convolutions with an activation after each but the last."""

    def __init__(self, config: dict[str, Any], path: str):
        super().__init__()
        channels = [1, *config[f"{path}_stem_channels"]]
        kernels, strides = config[f"{path}_stem_kernels"], config[f"{path}_stem_strides"]
        self.convs = nn.ModuleList(
            _Conv(before, after, tuple(kernel), tuple(stride))
            for before, after, kernel, stride in zip(channels[:-1], channels[1:], kernels, strides, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        for number, conv in enumerate(self.convs):
            x = conv(_activate(x) if number else x)
        return x


class _Fusion(nn.Module):
    """What the slow path is given of the fast one, shortened in time to its length."""

    def __init__(self, before: int, hidden: int, after: int, kernel: tuple[int, int], stride: tuple[int, int]):
        super().__init__()
        self.conv1 = _Conv(before, hidden, kernel, stride)
        self.conv2 = _Conv(hidden, after, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class _Stage(nn.Module):
    """Residual blocks, the first of which may change channels and frequencies."""

    def __init__(self, config: dict[str, Any], path: str, number: int):
        super().__init__()
        alpha = config["alpha"]
        before, after = config[f"{path}_stage_in"][number], config[f"{path}_stage_out"][number]
        groups = after // 2 // config[f"{path}_group_size"]
        kernels = [tuple(kernel) for kernel in config["block_kernels"]]
        deviation = 1.0 if number == 0 else math.sqrt(1 + alpha**2)  # expected of what enters a block
        blocks = []
        for block in range(_DEPTHS[number]):
            shape = (before, after, _DOWNSAMPLING[number]) if block == 0 else (after, after, 1)
            blocks.append(_Block(*shape, kernels, groups, 1 / deviation, alpha, transition=block == 0))
            deviation = math.sqrt(deviation**2 + alpha**2)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class _Block(nn.Module):
    """A bottleneck of grouped convolutions with squeeze-and-excitation, scaled and added to its input."""

    def __init__(
        self,
        before: int,
        after: int,
        downsampling: int,
        kernels: list[tuple[int, int]],
        groups: int,
        beta: float,
        alpha: float,
        transition: bool,
    ):
        """Builds the block.

        Args:
            before: channels that enter.
            after: channels that leave.
            downsampling: of the frequencies.
            kernels: of the four convolutions, the second and third of which are grouped.
            groups: of these two.
            beta: brings the input to variance 1.
            alpha: scales what is added.
            transition: whether the skipping branch has a convolution of its own.
        """
        super().__init__()
        hidden = after // 2
        self.downsampling, self.beta, self.alpha = downsampling, beta, alpha
        self.convs = nn.ModuleList(
            [
                _Conv(before, hidden, kernels[0]),
                _Conv(hidden, hidden, kernels[1], (downsampling, 1), groups=groups),
                _Conv(hidden, hidden, kernels[2], groups=groups),
                _Conv(hidden, after, kernels[3]),
            ]
        )
        self.se = _SqueezeExcitation(after)
        self.skip_gain = nn.Parameter(torch.ones(1))
        self.skip_conv = _Conv(before, after, (1, 1)) if transition else None

    def forward(self, x: Tensor) -> Tensor:
        scaled = self.beta * _activate(x)
        y = self.convs[0](scaled)
        for conv in self.convs[1:]:
            y = conv(_activate(y))
        if self.skip_conv is not None:
            x = F.avg_pool2d(scaled, (self.downsampling, 1), ceil_mode=True) if self.downsampling > 1 else scaled
            x = self.skip_conv(x)
        return x + self.se(y) * (self.skip_gain * self.alpha)


class _SqueezeExcitation(nn.Module):
    """Multiplies each channel by twice a number between 0 and 1, found from the means of all channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // 2)
        self.fc2 = nn.Linear(channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        factors = 2 * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3))))))
        return x * factors[:, :, None, None]


def _activate(x: Tensor) -> Tensor:
    return F.gelu(x) * _ACTIVATION_GAIN
