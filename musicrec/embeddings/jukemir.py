"""JukeMIR: activations from the middle of Jukebox's 5-billion-parameter prior.

Castellon, Donahue, Liang: "Codified audio language modeling learns useful representations for music information
retrieval", ISMIR 2021: audio is encoded by Jukebox's VQ-VAE (Dhariwal et al., 2020), and the activations of the 36th of
the prior's 72 layers are averaged over time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from musicrec.audio.clip import Clip
from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.checkpoints.cache import announce_licence
from musicrec.embeddings.checkpoints.jukebox import CONFIG_FILE, PRIOR_FILE, VQVAE_FILE, Weights, open_weights
from musicrec.embeddings.checkpoints.jukebox_download import ADDRESSES, published
from musicrec.embeddings.networks.jukebox import conditioning
from musicrec.embeddings.networks.jukebox.encoder import Encoder
from musicrec.embeddings.networks.jukebox.prior import Prior
from musicrec.embeddings.networks.jukebox.sizes import Sizes
from musicrec.errors import MusicrecError, demand

log = logging.getLogger(__name__)

# Layers of the published prior.
_DEPTH = 72
_LICENCE = "OpenAI's Noncommercial Use License (code, weights and what is made with them: not for commercial purposes)"
_TERMS = "https://github.com/openai/jukebox/blob/master/LICENSE"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# At most this many codes go through the prior at once, whatever the batch size: four clips of 24 s fill a GPU.
_POSITIONS = {"cpu": 8192, "cuda": 32_768}
# Up to 50 million parameters per layer are no difficulty for a CPU.
_LARGE_WIDTH = 2048


class JukeMIR(AudioEmbedding):
    """The mean over time of a layer of Jukebox's top-level prior, by default the 36th: 4800-d.

    A clip is divided by its peak, encoded as a whole, and the first 8192 codes (23.8 s) go through the prior. Clips may
    differ in length; none is padded. A clip of one code has no embedding: the prior sees a code one position later, so
    it would see nothing of the clip.
    """

    native_rate = 44_100
    same_length = False

    def __init__(
        self,
        name: str = "jukemir",
        checkpoint: str | None = None,
        max_seconds: float | None = 24.0,
        pad: bool = False,
        layer: int | None = None,
        sample_rate: int | None = None,
        mirror: str | None = None,
    ):
        """Keeps the choices; nothing is read yet.

        Args:
            name: names the
            checkpoint: folder with vqvae.pth.tar and prior_level_2.pth.tar, and a config.json if its sizes are not
                those of the published 5b; None = the published one, fetched into the user's cache.
            max_seconds: how much of a track is used; the peak is that of this part. None = all, the model takes 25 s.
            pad: zero-pad shorter tracks to `max_seconds`; upstream does not.
            layer: whose output is used, 1 to 72; None = 36, or that of config.json.
            sample_rate: Hz; the model was trained on 44100.
            mirror: address of a folder with both files, used instead of the upstream's.
        """
        super().__init__(name, Clip(max_seconds, pad, sample_rate), checkpoint)
        demand("embedding.layer", layer, layer is None or 1 <= layer <= _DEPTH, f"null or 1 to {_DEPTH}")
        self.layer = layer
        self.mirror = mirror
        self._sizes = Sizes()

    def settings(self) -> dict[str, Any]:
        """Returns those of every audio embedding and the layer."""
        return super().settings() | {"layer": self.layer}

    @property
    def min_samples(self) -> int:
        """Returns the length of two codes."""
        return 2 * self._sizes.vqvae.hop

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Fetches or converts the weights if necessary and puts encoder and prior on a device."""
        folder = self._folder()
        config = folder / CONFIG_FILE
        self._sizes = sizes = Sizes.read(config) if config.is_file() else Sizes()
        layers = self.layer or sizes.layer
        if layers > sizes.prior.depth:
            raise MusicrecError(f"embedding.layer={layers}: {folder} has layers 1 to {sizes.prior.depth}")
        if sizes.prior.width >= _LARGE_WIDTH and (device == "cpu" or precision == "fp32"):
            log.info("%s: a GPU with extract.precision=fp16 is many times faster (docs/jukemir.md)", self.name)
        # On a CPU the stored half-precision matrices serve as they are; elsewhere the file must not stay in memory.
        mapped = device == "cpu" and precision != "bf16"
        weights = open_weights(folder, sizes.vqvae.levels - 1, layers, mapped)
        self._hash = weights.identity
        if config.is_file():  # it decides the layer
            self._hash = hashlib.sha256(f"{self._hash} {config.read_text(encoding='utf-8')}".encode()).hexdigest()
        self._device = torch.device(device)
        self._encoder = _encoder(sizes, weights, folder).to(self._device)
        self._prior = _prior(sizes, weights, folder, layers, self._device, _DTYPES[precision])

    def checkpoint_hash(self) -> str:
        """Returns the SHA-256 of both files, and of config.json if there is one."""
        return self._hash

    @torch.inference_mode()
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns the means over time of the layer, (batch, width) float32."""
        codes = [self._encoder(self._normalise(wave))[: self._sizes.prior.n_ctx] for wave in waves]
        vectors = np.empty((len(waves), self._sizes.prior.width), dtype=np.float32)
        # Clips of similar length share a batch, as the shorter ones are computed to the length of the longest.
        order = sorted(range(len(waves)), key=lambda clip: -len(codes[clip]))
        limit = _POSITIONS.get(self._device.type, 8192)
        while order:
            count = max(1, limit // len(codes[order[0]]))
            batch, order = order[:count], order[count:]
            vectors[batch] = self._prior([codes[clip] for clip in batch]).cpu().numpy()
        return vectors

    @torch.inference_mode()
    def features(self, wave: np.ndarray) -> dict[str, np.ndarray]:
        """Returns every stage for one wave, (samples,).

        Returns:
            audio_norm: (samples,); latent: (codes, code width); codes: (codes,) int64, before the cut to the context;
            h0, layer_1, layer_2, ...: (positions, width) in the precision of the arithmetic; mean: (width,).
        """
        audio = self._normalise(wave)
        latent = self._encoder.latent(audio)
        codes = self._encoder.quantise(latent)
        stages = {"audio_norm": audio, "latent": latent, "codes": codes}
        kept = codes[: self._sizes.prior.n_ctx]
        for number, hidden in enumerate(self._prior.activations([kept])):
            stages[f"layer_{number}" if number else "h0"] = hidden[0, : len(kept)].clone()
        stages["mean"] = self._prior([kept])[0]
        return {name: value.cpu().numpy() for name, value in stages.items()}

    def _folder(self) -> Path:
        if self.checkpoint is None:
            announce_licence("Jukebox 5b", _LICENCE, _TERMS)
            return published((self.mirror,) if self.mirror else ADDRESSES)
        path = Path(self.checkpoint).expanduser()
        if not path.exists():
            raise MusicrecError(f"embedding.checkpoint: {path} does not exist; null fetches the published weights")
        folder = path.parent if path.is_file() else path
        if not (folder / CONFIG_FILE).is_file():
            announce_licence("Jukebox 5b", _LICENCE, _TERMS)
        return folder

    def _normalise(self, wave: np.ndarray) -> Tensor:
        """Returns a wave on the device, divided by its peak, then cut to what the model takes."""
        audio = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32)).to(self._device)
        peak = audio.abs().max()
        return torch.where(peak > 0, audio / peak, audio)[: self._sizes.max_samples]


def _encoder(sizes: Sizes, weights: Weights, folder: Path) -> Encoder:
    """Returns the encoder with its weights."""
    level = sizes.vqvae.levels - 1
    ours = {f"bottleneck.level_blocks.{level}.k": "k"}
    ours |= {name: name.removeprefix(f"encoders.{level}.") for name in weights.names if name.startswith("encoders.")}
    found = {ours[name]: weights.read(name).float() for name in weights.names if name in ours}
    with torch.device("meta"):
        encoder = Encoder(sizes.vqvae)
    _assign(encoder, found, folder / VQVAE_FILE)
    return encoder


def _prior(
    sizes: Sizes, weights: Weights, folder: Path, layers: int, device: torch.device, dtype: torch.dtype
) -> Prior:
    """Returns the prior with its weights on a device, put there one by one; the conditioning is folded into a table."""
    path = folder / PRIOR_FILE
    shapes = conditioning.table_shapes(sizes)
    tables = {name: weights.read(name) for name in shapes if name in weights.names}
    _compare(shapes, {name: tuple(table.shape) for name, table in tables.items()}, path)
    start, positions = conditioning.fold(tables, sizes)
    found = {"start": start.to(device)}
    # Upstream keeps the matrices in half precision; so do we, unless the arithmetic has a half precision of its own.
    held = torch.float16 if dtype == torch.float32 else dtype
    for name in [name for name in weights.names if name.startswith("prior.")]:
        value = weights.read(name).to(held if name.endswith(".w") else torch.float32)
        if name == "prior.pos_emb.pos_emb":
            _compare({name: tuple(positions.shape)}, {name: tuple(value.shape)}, path)
            value = positions.add_(value)
        found[_ours(name)] = value.to(device)
    with torch.device("meta"):
        prior = Prior(sizes.prior, sizes.vqvae.l_bins, layers)
    _assign(prior, found, path)
    prior.dtype = dtype
    return prior


def _ours(name: str) -> str:
    """Returns our name of a tensor of the upstream's prior."""
    kept = {"prior.pos_emb.pos_emb": "positions", "prior.x_emb.weight": "x_emb"}
    return kept.get(name) or "layers." + name.removeprefix("prior.transformer._attn_mods.")


def _assign(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Puts weights into a module made on the meta device."""
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    _compare(wanted, {name: tuple(value.shape) for name, value in weights.items()}, path)
    module.load_state_dict({name: weights[name] for name in wanted}, strict=True, assign=True)
    module.eval().requires_grad_(False)


def _compare(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raises MusicrecError at the first tensor that is missing or has another shape."""
    for name, shape in wanted.items():
        if found.get(name) != shape:
            has = f"has shape {found[name]}" if name in found else "is missing"
            raise MusicrecError(
                f"{path}: {name} {has}, {shape} is needed: not a file of Jukebox 5b, or a {CONFIG_FILE} beside "
                "it must give its sizes"
            )
