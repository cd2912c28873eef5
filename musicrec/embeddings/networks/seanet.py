"""The encoder of EnCodec, without its quantiser: 320 samples at 24 kHz become one frame.

Défossez, Copet, Synnaeve, Adi: "High Fidelity Neural Audio Compression", TMLR 2023, section 3.1 (SEANet, causal).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Indices of the strided convolutions in upstream's sequence; a residual block and an ELU come before each.
_STRIDED = (3, 6, 9, 12)
_LSTM = 13
_LAST = 15


class SEANetEncoder(nn.Sequential):
    """From waves (batch, 1, samples) to frames (batch, dim, ceil(samples / hop)); only the past is used.

    Args:
        shapes: of the weights (`0.weight`, `1.block.1.weight`, ...).
        prefix: before these names.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], prefix: str):
        layers: list[nn.Module] = [_CausalConv(shapes[f"{prefix}0.weight"])]
        for index in _STRIDED:
            shape = shapes[f"{prefix}{index}.weight"]
            residual = _Residual(shapes, f"{prefix}{index - 2}")
            layers += [residual, nn.ELU(), _CausalConv(shape, stride=shape[2] // 2)]
        width = shapes[f"{prefix}{_LSTM}.lstm.weight_hh_l0"][1]
        layers += [_SkippedLSTM(width), nn.ELU(), _CausalConv(shapes[f"{prefix}{_LAST}.weight"])]
        super().__init__(*layers)


class _CausalConv(nn.Conv1d):
    """Causal convolution; the start is padded by reflection, the end only to complete the last frame."""

    def __init__(self, shape: torch.Size, stride: int = 1):
        after, before, kernel = shape
        super().__init__(before, after, kernel, stride)
        self.past = kernel - stride

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[2]
        future = -length % self.stride[0]
        if self.past or future:
            # A signal too short for reflection is first extended by zeros, as upstream does.
            surplus = max(0, max(self.past, future) - length + 1)
            x = F.pad(F.pad(x, (0, surplus)), (self.past, future), mode="reflect")
            x = x[:, :, : x.shape[2] - surplus]
        return super().forward(x)


class _Residual(nn.Module):
    def __init__(self, shapes: Mapping[str, torch.Size], name: str):
        super().__init__()
        narrow, wide = (_CausalConv(shapes[f"{name}.block.{number}.weight"]) for number in (1, 3))
        self.block = nn.Sequential(nn.ELU(), narrow, nn.ELU(), wide)
        self.shortcut = _CausalConv(shapes[f"{name}.shortcut.weight"])

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)


class _SkippedLSTM(nn.Module):
    """Two layers of LSTM over time, added to their input; in float32 also under autocast."""

    def __init__(self, width: int):
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers=2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            steps = x.float().permute(2, 0, 1)
            return (self.lstm(steps)[0] + steps).permute(1, 2, 0)
