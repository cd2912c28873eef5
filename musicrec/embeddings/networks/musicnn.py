"""The network of MusicNN, from waves to the stages of every patch (Pons et al., ISMIR 2018 and 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from musicrec.audio.spectrogram import centre_pad, hann, mel_filterbank, power_spectrogram
from musicrec.embeddings.networks.peak_correlation import PeakCorrelation
from musicrec.errors import MusicrecError

_RATE = 16_000
_N_FFT = 512
_MELS = 96
_BATCH_NORM_EPS = 1e-3  # TensorFlow's default; many channels have a variance near 0, so 1e-5 gives other numbers
_DEAD = 1e-15  # sum of the magnitudes of a filter's weights up to which it is 0; inputs are below 1e3
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class _Filters(nn.Module):
    """A convolution, ReLU and batch norm; what is the same for all patches is computed once, by `settle`.

    Weight decay has brought most filters of the published weights to 0 (to 1e-30: of the 408 timbral ones of "msd" 61
    are alive). What a dead filter gives follows from its bias alone, so only the others are convolved.
    """

    index: Tensor
    filters: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor
    silent: Tensor

    def __init__(self, conv: nn.Conv1d | nn.Conv2d):
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm1d(conv.out_channels, eps=_BATCH_NORM_EPS)

    def settle(self) -> None:
        """Reads the weights, once they are loaded: which filters are alive, and what the dead ones give."""
        weight, bias = self.conv.weight.detach(), self.conv.bias
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert bias is not None and mean is not None and variance is not None
        self.alive = weight.abs().flatten(1).sum(dim=1).gt(_DEAD).nonzero()[:, 0].tolist() or [0]
        scale = self.norm.weight.double() / (variance.double() + _BATCH_NORM_EPS).sqrt()
        shift = self.norm.bias.double() - mean.double() * scale
        silent = F.relu(bias.double()) * scale + shift
        self.register_buffer("index", torch.tensor(self.alive), persistent=False)
        self._keep("filters", weight[self.alive])
        self._keep("silent", silent[:, None])
        for name, values in {"bias": bias, "scale": scale, "shift": shift}.items():
            self._keep(name, values[self.alive, None])

    def activate(self, response: Tensor) -> Tensor:
        """Returns all filters, (patches, filters, time), from the convolution of those alive, without its bias."""
        alive = F.relu(response + self.bias) * self.scale + self.shift
        silent = self.silent.to(alive.dtype).expand(len(alive), -1, alive.shape[2])
        return silent.index_copy(1, self.index, alive)

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.detach().float().contiguous(), persistent=False)


class _Branch(_Filters):
    """One front-end branch: `_Filters`, and the maximum over the mel axis.

    Batch norm is monotone in each channel, so it commutes with the maximum: the maximum of the convolution suffices
    where gamma >= 0, the minimum where gamma < 0. Flipping the sign of those filters turns both into a maximum, and
    ReLU and batch norm then work on (patches, filters, time) instead of a map some fifty times as large.
    """

    sign: Tensor

    def __init__(self, filters: int, time: int, width: int, mel: int):
        super().__init__(nn.Conv2d(1, filters, (time, width)))
        self.mel = mel
        # TensorFlow's "same" padding: an even kernel gets the odd zero at the end.
        self.time_padding = ((time - 1) // 2, time - 1 - (time - 1) // 2)

    def settle(self) -> None:
        """Turns the filters whose minimum counts, besides."""
        super().settle()
        sign = torch.where(self.norm.weight < 0, -1.0, 1.0)[self.alive, None]
        self._keep("sign", sign)
        self.filters = (self.filters * sign[..., None, None]).contiguous(memory_format=torch.channels_last)
        self.correlation = PeakCorrelation(self.filters[:, 0], self.mel)

    def forward(self, image: Tensor) -> Tensor:
        """Returns (patches, filters, time) of (patches, 1, time, mel)."""
        image = F.pad(image, (0, 0, *self.time_padding))
        if self.filters.shape[3] == 1:
            peak = self._over_time(image)
        elif image.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            peak = self.correlation(image)
        else:  # a GPU convolves faster than it starts many small products, and spectra lose more in half precision
            peak = F.conv2d(image, self.filters).amax(dim=3)
        return self.activate(peak * self.sign)

    def _over_time(self, image: Tensor) -> Tensor:
        """Returns the maxima for filters as narrow as one mel band, (patches, alive filters, time).

        Frame by frame this is a product of the filters and the frames below them, (filters, kernel) @ (kernel, mel),
        which needs no copies of the image: a third faster than the convolution on a CPU.
        """
        (patches, _, padded, mel), kernel = image.shape, self.filters.shape[2]
        frames = image.as_strided((patches, padded - kernel + 1, kernel, mel), (padded * mel, mel, mel, 1))
        return torch.matmul(self.filters[:, 0, :, 0], frames).amax(dim=3).transpose(1, 2)


class _MidLayer(_Filters):
    """`_Filters` over time; keeps the length."""

    def __init__(self, channels: int, filters: int, kernel: int):
        super().__init__(nn.Conv1d(channels, filters, kernel, padding=kernel // 2))

    def forward(self, features: Tensor) -> Tensor:
        """Returns (patches, filters, time) of (patches, channels, time)."""
        return self.activate(F.conv1d(features, self.filters, padding=self.filters.shape[2] // 2))


class MusicNNNet(nn.Module):
    """The network, from log-mel patches to tags; its sizes are read from the shapes of the weights.

    Args:
        weights: tensors by name, as `convert_musicnn` writes them.
        mel: bands of the patches.
    """

    def __init__(self, weights: dict[str, Tensor], mel: int = _MELS):
        super().__init__()
        shape = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        self.input_norm = nn.BatchNorm2d(1, eps=_BATCH_NORM_EPS)
        self.frontend = nn.ModuleDict()
        for name in ("timbral1", "timbral2", "temporal1", "temporal2", "temporal3"):
            filters, _, time, width = shape[f"frontend.{name}.conv.weight"]
            self.frontend[name] = _Branch(filters, time, width, mel)
        self.midend = nn.ModuleDict()
        for name in ("layer1", "layer2", "layer3"):
            filters, channels, kernel = shape[f"midend.{name}.conv.weight"]
            self.midend[name] = _MidLayer(channels, filters, kernel)
        units, pooled = shape["backend.dense.weight"]
        tags, _ = shape["backend.output.weight"]
        self.backend = nn.ModuleDict(
            {
                "pool_norm": nn.BatchNorm1d(pooled, eps=_BATCH_NORM_EPS),
                "dense": nn.Linear(pooled, units),
                "dense_norm": nn.BatchNorm1d(units, eps=_BATCH_NORM_EPS),
                "output": nn.Linear(units, tags),
            }
        )
        missing, unexpected = self.load_state_dict(weights, strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]  # TensorFlow counts none
        if missing or unexpected:
            raise MusicrecError(f"not MusicNN weights: missing {missing[:3]}, unknown {unexpected[:3]}")
        self.eval().requires_grad_(False)
        for part in (*self.frontend.values(), *self.midend.values()):
            assert isinstance(part, _Filters)
            part.settle()

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Returns every stage by the reference's names.

        Args:
            patches: log-mel, (patches, time, 96).

        Returns:
            timbral, temporal, cnn1, cnn2, cnn3: (patches, channels, time);
            mean_pool, max_pool: (patches, 753); penultimate: (patches, 200); taggram: (patches, 50).
        """
        image = self.input_norm(patches[:, None])
        branches = {name: branch(image) for name, branch in self.frontend.items()}
        timbral = torch.cat([branches["timbral1"], branches["timbral2"]], dim=1)
        temporal = torch.cat([branches["temporal1"], branches["temporal2"], branches["temporal3"]], dim=1)
        front = torch.cat([timbral, temporal], dim=1)  # (patches, 561, time)
        cnn1 = self.midend["layer1"](front)
        cnn2 = self.midend["layer2"](cnn1) + cnn1
        cnn3 = self.midend["layer3"](cnn2) + cnn2
        dense = torch.cat([front, cnn1, cnn2, cnn3], dim=1)  # (patches, 753, time)
        max_pool, mean_pool = dense.amax(dim=2), dense.mean(dim=2)
        pooled = torch.stack([max_pool, mean_pool], dim=2).flatten(1)  # interleaved: max, mean of each channel
        hidden = F.relu(self.backend["dense"](self.backend["pool_norm"](pooled)))
        penultimate = self.backend["dense_norm"](hidden)
        return {
            "timbral": timbral,
            "temporal": temporal,
            "cnn1": cnn1,
            "cnn2": cnn2,
            "cnn3": cnn3,
            "mean_pool": mean_pool,
            "max_pool": max_pool,
            "penultimate": penultimate,
            "taggram": torch.sigmoid(self.backend["output"](penultimate)),
        }


class MusicNNModel:
    """The network with its weights on a device, and the spectrograms that it reads.

    Args:
        weights: content of a .safetensors file, as `convert_musicnn` writes it.
        device: "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".
        hop: samples between two frames.
        patch_frames: frames of a patch.
        patch_hop: frames between the starts of two patches.
        first_only: only the first patch of a wave counts.
        pad_mode: edges of the spectrogram, "constant" (zeros) or "reflect".
    """

    def __init__(
        self,
        weights: bytes,
        device: str,
        precision: str,
        *,
        hop: int,
        patch_frames: int,
        patch_hop: int,
        first_only: bool,
        pad_mode: str,
    ):
        self._device = torch.device(device)
        self._autocast = _AUTOCAST.get(precision)
        self._net = MusicNNNet(load(weights)).to(self._device)
        self._window = hann(_N_FFT, self._device)
        bank = mel_filterbank(_RATE, _N_FFT, _MELS)
        self._filters = torch.from_numpy(bank.T.copy()).to(self._device)  # (bins, mels)
        self._hop, self._patch_frames, self._patch_hop = hop, patch_frames, patch_hop
        self._first_only = first_only
        self._pad_mode = pad_mode

    def features(self, wave: np.ndarray) -> dict[str, np.ndarray]:
        """Returns every stage of every patch by name, channels last, and its `logmel`; float32."""
        stages: dict[str, list[Tensor]] = {}
        for patch in self.patches(wave):
            output = {"logmel": patch, **self.stages(patch)}
            for name, value in output.items():
                last = value.transpose(1, 2) if value.ndim == 3 and name != "logmel" else value
                stages.setdefault(name, []).append(last.float().cpu())
        return {name: torch.cat(values).numpy() for name, values in stages.items()}

    def embed(self, wave: np.ndarray, layer: str) -> np.ndarray:
        """Returns the mean over the patches of a stage, (dim,) float32."""
        # One patch at a time: its feature maps stay in the cache, which on a CPU beats one large batch, and the
        # memory needed does not grow with the track.
        rows = [self.stages(patch)[layer].float() for patch in self.patches(wave)]
        return torch.cat(rows).mean(dim=0).cpu().numpy()

    @torch.inference_mode()
    def stages(self, patches: Tensor) -> dict[str, Tensor]:
        """Returns every stage of log-mel patches, (patches, time, 96), see `MusicNNNet.forward`."""
        context = torch.autocast(self._device.type, self._autocast) if self._autocast else nullcontext()
        with context:
            return self._net(patches)

    @torch.inference_mode()
    def patches(self, wave: np.ndarray) -> Iterator[Tensor]:
        """Yields the log-mel patches, each (1, time, 96). They are cut from one spectrogram of the whole signal."""
        padded = centre_pad(torch.from_numpy(np.ascontiguousarray(wave)).to(self._device), _N_FFT, self._pad_mode)
        frames = 1 + len(wave) // self._hop
        last = 0 if self._first_only else frames - self._patch_frames
        for first in range(0, last + 1, self._patch_hop):
            samples = padded[first * self._hop : (first + self._patch_frames - 1) * self._hop + _N_FFT]
            yield self._log_mel(samples)[None]

    def _log_mel(self, padded: Tensor) -> Tensor:
        """Returns log10(10000 * mel power + 1), (frames, 96), of a padded signal."""
        mel = power_spectrogram(padded, self._window, self._hop) @ self._filters
        # The reference stores the mel power as float16; the quantisation of quiet cells is part of its input.
        return torch.log10(10_000 * mel.half().float() + 1)
