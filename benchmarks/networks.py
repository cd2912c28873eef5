"""The transformers at their published sizes, with random weights: speed against the study's way, and precision.

Usage:
    python benchmarks/networks.py                                    all of them on this machine
    python benchmarks/networks.py --models mert,musicfm_mean --clips 64 --batch 16 --device cuda --precision bf16

The study's way is float32, one process that decodes a batch of clips and then runs the network on it, without fused
attention: transformers' eager implementation (for EnCodec-MAE, MuQ, MuQ-MuLan and MULE one file at a time, as their
packages do). Both start from the same MP3s and the same weights, so the vectors are compared too. Results: RESULTS.md.
The reference for MULE is the package mule-torch, which must be installed (--no-deps) or on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import EncodecConfig, EncodecModel, Wav2Vec2ConformerConfig
from transformers.audio_utils import mel_filter_bank
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoder

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]  # the name extract is a script in both

from extract import make_clips  # noqa: E402
from musicrec.audio.decode import load_audio  # noqa: E402
from musicrec.embeddings.encodecmae import EncodecMAE  # noqa: E402
from musicrec.embeddings.extraction.extract import extract  # noqa: E402
from musicrec.embeddings.mert import MERT  # noqa: E402
from musicrec.embeddings.mule import MULE  # noqa: E402
from musicrec.embeddings.muq import MuQ  # noqa: E402
from musicrec.embeddings.muq_mulan import MuQMuLan  # noqa: E402
from musicrec.embeddings.music2vec import Music2Vec  # noqa: E402
from musicrec.embeddings.musicfm import MusicFM  # noqa: E402
from musicrec.embeddings.networks.encodecmae import _sinusoids  # noqa: E402
from musicrec.embeddings.networks.musicfm import _FrontEnd  # noqa: E402
from musicrec.embeddings.pretrained.base import Pretrained  # noqa: E402
from musicrec.embeddings.tables import store  # noqa: E402
from musicrec.errors import MusicrecError  # noqa: E402
from musicrec.workspace import TrackIndex, Workspace  # noqa: E402

STUDY = {"max_seconds": 30, "pad": True}
WEIGHTS = "model.safetensors"
# Names in transformers' encoder of EnCodec -> in the checkpoint.
ENCODEC = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
    "layers.": "wav_encoder.model.model.",
}


class Reference(ABC):
    """One model the study's way: `frames` from a batch of waves to (batch, frames, dim), and its checkpoint.

    Attributes:
        one_by_one: whether the study, or the upstream, gives it one track at a time.
    """

    one_by_one = False

    def __init__(self, embedding: Callable[..., Pretrained], options: dict[str, Any], folder: Path):
        self.embedding = embedding(checkpoint=str(folder), **options)

    def to(self, device: str) -> None:
        for value in vars(self).values():
            if isinstance(value, nn.Module):
                value.to(device).eval().requires_grad_(False)

    @abstractmethod
    def frames(self, waves: Tensor) -> Tensor:
        """Returns (batch, frames, dim) states of (batch, samples) waves."""


class Transformers(Reference):
    """MERT and Music2Vec: a class of transformers as it is."""

    def __init__(
        self, embedding: Callable[..., Pretrained], kind: str, options: dict[str, Any], folder: Path, **sizes: Any
    ):
        super().__init__(embedding, options, folder)
        config = getattr(transformers, f"{kind}Config")(**sizes)
        config._attn_implementation = "eager"
        self.net = getattr(transformers, f"{kind}Model")(config)
        state = {name: value.detach().clone() for name, value in self.net.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config.to_dict(), default=str))

    def frames(self, waves: Tensor) -> Tensor:
        return self.net(waves).last_hidden_state


def mert(folder: Path) -> Reference:
    sizes = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    return Transformers(MERT, "Hubert", STUDY, folder, **sizes, do_stable_layer_norm=True)


def mert_95m(folder: Path) -> Reference:
    return Transformers(MERT, "Hubert", STUDY, folder)


def music2vec(folder: Path) -> Reference:
    return Transformers(Music2Vec, "Data2VecAudio", STUDY, folder)


class Conformer(Reference):
    """The convolutions and the log-mel spectra of MusicFM and MuQ, and transformers' conformer."""

    mean, deviation = 6.768444971712967, 18.417922652295623

    def __init__(self, embedding: Callable[..., Pretrained], options: dict[str, Any], folder: Path):
        super().__init__(embedding, options, folder)
        config = Wav2Vec2ConformerConfig(
            hidden_size=1024,
            num_hidden_layers=12,
            num_attention_heads=16,
            intermediate_size=4096,
            hidden_act="swish",
            position_embeddings_type="rotary",
        )
        config._attn_implementation = "eager"
        self.front = _FrontEnd(512, 1024, 512 * 32)
        self.conformer = Wav2Vec2ConformerEncoder(config)
        bank = mel_filter_bank(1025, 128, 0.0, 12_000.0, 24_000, norm=None, mel_scale="htk")
        self.window, self.bank = torch.hann_window(2048), torch.from_numpy(bank).float()

    def tensors(self) -> dict[str, Tensor]:
        """Returns the weights by the names that both upstreams use."""
        state = {f"conv.{name}": value for name, value in self.front.state_dict().items()}
        return state | {f"conformer.{name}": value for name, value in self.conformer.state_dict().items()}

    def frames(self, waves: Tensor) -> Tensor:
        window, bank = self.window.to(waves), self.bank.to(waves)
        power = torch.stft(waves, 2048, 240, window=window, return_complex=True)[..., :-1].abs() ** 2
        decibel = 10 * torch.log10((power.transpose(1, 2) @ bank).transpose(1, 2).clamp_min(1e-10))
        return self.conformer(self.front((decibel - self.mean) / self.deviation)).last_hidden_state


class Musicfm(Conformer):
    """MusicFM."""

    def __init__(self, folder: Path):
        super().__init__(MusicFM, STUDY | {"pooling": "time"}, folder)
        front = "preprocessor_melspec_2048.mel_stft."
        state = {f"{front}spectrogram.window": self.window, f"{front}mel_scale.fb": self.bank} | self.tensors()
        torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}}, folder / "random.pt")
        statistics = {"melspec_2048_mean": self.mean, "melspec_2048_std": self.deviation}
        (folder / "stats.json").write_text(json.dumps(statistics))


class Muq(Conformer):
    """MuQ, one file after the other as in the upstream's README."""

    one_by_one = True

    def __init__(self, folder: Path):
        super().__init__(MuQ, STUDY, folder)
        save_file({f"model.{name}": value.contiguous() for name, value in self.tensors().items()}, folder / WEIGHTS)
        (folder / "config.json").write_text(json.dumps(self.config()))

    def config(self) -> dict[str, Any]:
        """Returns what config.json says of the published model."""
        return {
            "label_rate": 25,
            "conv_dim": 512,
            "encoder_dim": 1024,
            "encoder_depth": 12,
            "stat": {"melspec_2048_mean": self.mean, "melspec_2048_std": self.deviation},
            "w2v2_config": {"num_attention_heads": 16, "position_embeddings_type": "rotary", "hidden_act": "swish"},
        }


class MuqMulan(Muq):
    """MuQ-MuLan at the published sizes: one clip of 10 s after the other, as the upstream's package does by default."""

    dim, heads, depth, hidden, latents = 768, 8, 8, 2048, 512

    def __init__(self, folder: Path):
        super(Muq, self).__init__(MuQMuLan, {"max_seconds": 30}, folder)
        dim, inner = self.dim, self.heads * 64
        self.proj, self.to_latents = nn.Linear(1024, dim), nn.Linear(dim, self.latents)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "to_q": nn.Linear(dim, inner, bias=False),
                    "to_kv": nn.Linear(dim, 2 * inner, bias=False),
                    "to_out": nn.Linear(inner, dim, bias=False),
                    "up": nn.Linear(dim, 2 * self.hidden, bias=False),
                    "down": nn.Linear(self.hidden, dim, bias=False),
                }
            )
            for _ in range(self.depth)
        )
        state = {f"audio.model.model.{name}": value for name, value in self.tensors().items()}
        state |= {f"audio.proj.{name}": value for name, value in self.proj.state_dict().items()}
        state |= {f"audio_to_latents.{name}": value for name, value in self.to_latents.state_dict().items()}
        for number, layer in enumerate(self.layers):
            weights = layer.state_dict()
            start = f"audio.transformer.layers.{number}"
            state |= {f"{start}.0.{name}.weight": weights[f"{name}.weight"] for name in ("to_q", "to_kv")}
            state |= {f"{start}.0.to_out.0.weight": weights["to_out.weight"]}
            state |= {f"{start}.1.1.weight": weights["up.weight"], f"{start}.1.4.weight": weights["down.weight"]}
            state |= {f"{start}.{name}.learned_gamma": torch.ones(dim) for name in ("0.norm", "1.0")}
            state |= {f"{start}.0.{part}_scale": torch.ones(64) for part in ("q", "k")}
        save_file({f"mulan.{name}": value.detach().contiguous() for name, value in state.items()}, folder / WEIGHTS)
        config = {"mulan": {"sr": 24_000, "clip_secs": 10}, "audio_model": {"name": "OpenMuQ/MuQ-large-msd-iter"}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "muq_config.json").write_text(json.dumps(self.config()))

    def frames(self, waves: Tensor) -> Tensor:
        return torch.stack([self._clip(clip[None]) for clip in waves[0].split(240_000)], dim=1)

    def _clip(self, clip: Tensor) -> Tensor:
        x = self.proj(super().frames(clip))
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            normed = F.layer_norm(x, x.shape[-1:])
            query, key, value = (
                part.unflatten(2, (self.heads, -1)).transpose(1, 2)
                for part in (layer["to_q"](normed), *layer["to_kv"](normed).chunk(2, dim=-1))
            )
            scores = (F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(2, 3) * 8).softmax(-1)
            x = x + layer["to_out"]((scores @ value).transpose(1, 2).flatten(2))
            value, gate = layer["up"](F.layer_norm(x, x.shape[-1:])).chunk(2, dim=-1)
            x = x + layer["down"](value * F.gelu(gate))
        return F.normalize(self.to_latents(x.mean(dim=1)), dim=-1)


class Mule(Reference):
    """MULE by the package mule-torch, one file after the other as in its README.

    The package is under the GPL, so it is only run if it is installed: pip install --no-deps mule-torch
    """

    one_by_one = True

    def __init__(self, folder: Path):
        super().__init__(MULE, {}, folder)
        bank = mel_filter_bank(1025, 96, 0.0, 8000.0, 16_000, norm=None, mel_scale="htk").T
        bank /= np.linalg.norm(bank, axis=1, keepdims=True)
        package = importlib.import_module("mule_torch")
        self.net = package.MuleModel(mel_fb=torch.from_numpy(bank).float())
        self.net.save_pretrained(folder)

    def frames(self, waves: Tensor) -> Tensor:
        return torch.stack(self.net.embed_timeline(waves))


class Encodecmae(Reference):
    """EnCodec-MAE: transformers' EnCodec and a plain ResiDual transformer, chunk by chunk."""

    one_by_one = True

    def __init__(self, folder: Path, dim: int = 768, hidden: int = 4096, depth: int = 10, heads: int = 12):
        super().__init__(EncodecMAE, {"max_seconds": 30}, folder)
        self.heads = heads
        self.encoder = EncodecModel(EncodecConfig()).encoder
        self.projection = nn.Linear(128, dim)
        feed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))  # shared by all layers
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {f"att_layer_{part}": nn.Linear(dim, dim, bias=False) for part in ("wq", "wk", "wv", "wo")}
                | {"ff_layer": feed, "norm1": nn.LayerNorm(dim), "norm2": nn.LayerNorm(dim)}
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        state = {"positional_encoder.scale": torch.tensor(1.0)}
        for name, value in self.encoder.state_dict().items():
            for theirs, ours in ENCODEC.items():
                name = name.replace(theirs, ours)
            state[name if ".lstm." in name else name.replace(".conv.", ".conv.conv.")] = value
        state |= {f"feat_projector.{name}": value for name, value in self.projection.state_dict().items()}
        for name, value in self.layers.state_dict().items():
            state[f"visible_encoder.encoder_layers.{name.replace('att_layer_', 'att_layer.')}"] = value
        state |= {f"visible_encoder.final_norm.{name}": value for name, value in self.norm.state_dict().items()}
        torch.save({"state_dict": state}, folder / "model.pt")

    def frames(self, waves: Tensor) -> Tensor:
        return torch.cat([self._chunk(wave[None, None]) for wave in waves[0].split(96_000)], dim=1)

    def _chunk(self, wave: Tensor) -> Tensor:
        first = self.projection(self.encoder(wave).transpose(1, 2))
        second = first = first + _sinusoids(first.shape[1], first.shape[2], first.device)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            query, key, value = (
                layer[f"att_layer_{part}"](first).unflatten(2, (-1, self.heads)).permute(0, 3, 1, 2)
                for part in ("wq", "wk", "wv")
            )
            attended = (query @ key.transpose(2, 3) / math.sqrt(key.shape[3])).softmax(3) @ value
            change = layer["att_layer_wo"](attended.permute(0, 2, 3, 1).flatten(2))
            first, second = layer["norm1"](first + change), second + change
            change = layer["ff_layer"](first)
            first, second = layer["norm2"](first + change), second + change
        return first + self.norm(second)


MODELS: dict[str, Callable[[Path], Reference]] = {
    "mert": mert,
    "mert_95m": mert_95m,
    "music2vec": music2vec,
    "encodecmae": Encodecmae,
    "musicfm_mean": Musicfm,
    "muq": Muq,
    "muq_mulan": MuqMulan,
    "mule": Mule,
}


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


@torch.inference_mode()
def study(reference: Reference, clips: list[Path], batch: int, device: str) -> tuple[np.ndarray, float, float, float]:
    """Returns the vectors, seconds in all, seconds of these in the network, and processor seconds."""
    reference.to(device)
    embedding, vectors, network = reference.embedding, [], 0.0
    batch = 1 if reference.one_by_one else batch
    begin, used = time.perf_counter(), time.process_time()
    for first in range(0, len(clips), batch):
        waves = [embedding.prepare(load_audio(clip, embedding.sample_rate)) for clip in clips[first : first + batch]]
        start = time.perf_counter()
        frames = reference.frames(torch.from_numpy(np.stack(waves)).to(device))
        vectors.append(frames.mean(dim=1).cpu().numpy())
        network += time.perf_counter() - start
    return np.concatenate(vectors), time.perf_counter() - begin, network, time.process_time() - used


def ours(
    embedding: Pretrained, clips: list[Path], batch: int, device: str, precision: str, root: Path
) -> tuple[np.ndarray, dict[str, float], float]:
    """Returns the vectors, seconds of each kind of work, and processor seconds; reading the weights in neither."""
    workspace, tracks = Workspace(root), TrackIndex([clip.stem for clip in clips])
    files = {clip.stem: clip for clip in clips}
    begin = time.process_time()
    embedding.load(device, precision)
    begin += 2 * (time.process_time() - begin)  # it is loaded once more below
    extract(embedding, workspace, tracks, files, device=device, precision=precision, batch_size=batch)
    used = time.process_time() - begin
    info = store.read_info(workspace.embedding_info(embedding.name))
    assert info is not None
    seconds = info.throughput["seconds"]
    return np.load(workspace.embedding(embedding.name)), seconds, used + seconds["decode"] + seconds["resample"]


@torch.inference_mode()
def operations(embedding: Pretrained) -> float:
    """Returns floating-point operations of the network for a clip of 30 s, without those of EnCodec's LSTM."""
    samples = 30 * embedding.sample_rate
    with FlopCounterMode(display=False) as counter:
        if isinstance(embedding, EncodecMAE | MuQMuLan | MULE):
            embedding.embed([np.zeros(samples, dtype=np.float32)])
        else:  # nothing is computed on this device
            shape = (1, 128, samples // 240) if isinstance(embedding, MusicFM | MuQ) else (1, samples)
            for _ in embedding._net.to("meta")(torch.zeros(shape, device="meta")):
                pass
    return float(counter.get_total_flops())


def attainable(device: str, precision: str) -> float:
    """Returns the operations per second that a large matrix product reaches on this device."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = 8192 if device.startswith("cuda") else 2048
    matrix = torch.randn(size, size, device=device, dtype=kind)
    best = math.inf
    for _ in range(5):
        synchronise(device)
        start = time.perf_counter()
        matrix @ matrix
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def cosines(embedding: Pretrained, clips: list[Path], device: str, seconds: float) -> dict[str, float]:
    """Returns the least cosine to fp32 by precision, on the first seconds of the clips."""
    waves = [load_audio(clip, embedding.sample_rate, seconds) for clip in clips]
    embedding.load(device, "fp32")
    exact = embedding.embed(waves).astype(np.float64)
    least = {}
    for precision in ("bf16", "fp16"):
        try:
            embedding.load(device, precision)
        except MusicrecError:  # MuQ refuses fp16
            least[precision] = math.nan
            continue
        found = embedding.embed(waves)
        least[precision] = float(
            ((found * exact).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(exact, axis=1)).min()
        )
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="fp32", help="of musicrec; the study's way is always fp32")
    parser.add_argument("--cosine-seconds", type=float, default=3.0, help="0 leaves half precision out")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rate = attainable(arguments.device, arguments.precision)
    print(f"{arguments.device}, musicrec in {arguments.precision}; a large matrix product: {rate / 1e12:.3f} TFLOP/s")
    columns = "model | study, clips/s | musicrec, clips/s | ratio | processor s per clip, study | musicrec | ratio"
    columns += " | network's share, study | musicrec | TFLOP per clip | of the matrix product's rate"
    columns += " | largest difference | cosine bf16 | cosine fp16"
    print(f"| {columns} |\n" + "|---" * len(columns.split("|")) + "|", flush=True)
    for name in arguments.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            clips = make_clips(Path(folder) / "music", arguments.clips, 30.0)
            (Path(folder) / "checkpoint").mkdir()
            reference = MODELS[name](Path(folder) / "checkpoint")
            expected, theirs, network, theirs_used = study(reference, clips, arguments.batch, arguments.device)
            embedding = reference.embedding
            del reference
            root = Path(folder) / "workspace"
            vectors, parts, used = ours(embedding, clips, arguments.batch, arguments.device, arguments.precision, root)
            least = {"bf16": math.nan, "fp16": math.nan}
            if arguments.cosine_seconds:
                least = cosines(embedding, clips[:1], arguments.device, arguments.cosine_seconds)
            flops = operations(embedding)
        count, total = len(clips), parts["total"]
        share = parts["model"] / (parts["model"] + parts["decode"] + parts["resample"])
        print(
            f"| {name} | {count / theirs:.3f} | {count / total:.3f} | {theirs / total:.2f} "
            f"| {theirs_used / count:.1f} | {used / count:.1f} | {theirs_used / used:.2f} "
            f"| {network / theirs:.0%} | {share:.0%} | {flops / 1e12:.2f} | {flops * count / total / rate:.0%} "
            f"| {np.abs(vectors - expected).max():.1e} | {least['bf16']:.6f} | {least['fp16']:.6f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
