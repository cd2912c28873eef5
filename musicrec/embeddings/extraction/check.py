"""Checks loaded weights: embeds a built-in signal and compares the vector with the one on record.

Weights can be wrong without any error (another revision, a damaged file, a mistake in a conversion), which changes the
vector. On record in the package are the models whose published weights could be run; for others the first run is
recorded in the user's cache, which verifies later runs but not that one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from musicrec.embeddings.base import AudioEmbedding, Embedding
from musicrec.embeddings.checkpoints.cache import cache_dir
from musicrec.embeddings.extraction.inference import torch_device
from musicrec.errors import MusicrecError
from musicrec.files import read_json, write_json

log = logging.getLogger(__name__)

SECONDS = 3.0
SHIPPED = Path(__file__).parents[1] / "weights" / "fingerprints.json"
# Relative difference |v - recorded| / |recorded| that devices and libraries may cause, in fp32 and in half precision.
_TOLERANCE, _TOLERANCE_HALF = 5e-3, 5e-2


@dataclass(frozen=True)
class Fingerprint:
    """The vector that weights give for the built-in signal.

    Attributes:
        settings: of the embedding, the revision among them.
        checkpoint_sha256: of the weights; None without a file.
        precision: of the arithmetic.
        vector: (dim,).
    """

    settings: dict[str, Any]
    checkpoint_sha256: str | None
    precision: str
    vector: np.ndarray

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Fingerprint:
        """Returns the fingerprint in a file."""
        vector = np.array(content["vector"], dtype=np.float32)
        return cls(content["settings"], content["checkpoint_sha256"], content["precision"], vector)

    def to_json(self) -> dict[str, Any]:
        """Returns the content of a file, seven digits of each value."""
        return {
            "settings": self.settings,
            "checkpoint_sha256": self.checkpoint_sha256,
            "precision": self.precision,
            "vector": [float(f"{value:.7g}") for value in self.vector],
        }


def signal(sample_rate: int) -> np.ndarray:
    """Returns the built-in signal, 3 s at a rate in Hz, (samples,) float32: decaying chords, a sweep, clicks."""
    time = np.arange(round(SECONDS * sample_rate)) / sample_rate
    wave = 0.2 * np.sin(2 * np.pi * (60 * time + 0.5 * 900 * time**2))  # 60 Hz to 2760 Hz
    for start, frequencies in (
        (0.0, (220.0, 277.2, 329.6)),
        (1.0, (196.0, 246.9, 293.7)),
        (2.0, (174.6, 220.0, 261.6)),
    ):
        since = np.maximum(time - start, 0)
        for frequency in frequencies:
            wave += 0.15 * (time >= start) * np.exp(-3 * since) * np.sin(2 * np.pi * frequency * since)
    wave[:: sample_rate // 4] += 0.3
    return wave.astype(np.float32)


def fingerprint(embedding: AudioEmbedding, precision: str = "fp32") -> Fingerprint:
    """Returns the fingerprint of an embedding whose weights were loaded."""
    wave = signal(embedding.sample_rate)
    if len(wave) < embedding.min_samples:
        wave = np.tile(wave, -(-embedding.min_samples // len(wave)))
    [vector] = embedding.embed([embedding.prepare(wave)])
    settings = json.loads(json.dumps(embedding.settings(), default=str))
    return Fingerprint(settings, embedding.checkpoint_hash(), precision, vector)


def check(embedding: Embedding, device: str = "auto", precision: str = "fp32") -> None:
    """Loads the weights and compares their fingerprint with the one on record, which is made if there is none.

    Args:
        embedding: what `extract.py` would extract.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".

    Raises:
        MusicrecError: the weights are not those on record; or the embedding is not computed from audio.
    """
    if not isinstance(embedding, AudioEmbedding):
        raise MusicrecError(
            f"extract.check=true embeds a built-in signal, and embedding={embedding.name} is not computed from audio"
        )
    embedding.load(torch_device(device), precision)
    found = fingerprint(embedding, precision)
    recorded, path = on_record(found.settings)
    if not np.isfinite(found.vector).all():
        raise MusicrecError(f"{embedding.name}: the vector of the built-in signal is not finite: the weights are wrong")
    if recorded is None:
        write_json(path, found.to_json() | {"recorded": datetime.now(UTC).isoformat(timespec="seconds")})
        log.warning(
            "%s: no fingerprint is on record for these weights, so nothing was verified; that of this run was recorded "
            "in %s, and later runs are compared with it",
            embedding.name,
            path,
        )
        return
    _compare(embedding.name, found, recorded, path)


def on_record(settings: dict[str, Any]) -> tuple[Fingerprint | None, Path]:
    """Returns the fingerprint recorded for settings, and the file that has it or will have it."""
    for content in read_json(SHIPPED) or []:
        if content["settings"] == settings:
            return Fingerprint.from_json(content), SHIPPED
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_dir() / "fingerprints" / f"{settings['model']}-{key}.json"
    try:
        content = read_json(path)
        return (None if content is None else Fingerprint.from_json(content)), path
    except (ValueError, KeyError, TypeError):
        raise MusicrecError(f"{path} is damaged; delete it, and the next check records it again") from None


def _compare(name: str, found: Fingerprint, recorded: Fingerprint, path: Path) -> None:
    """Logs that two fingerprints agree.

    Raises:
        MusicrecError: they do not.
    """
    remedy = f"fetch the weights again; if they changed on purpose, delete {path}"
    if path == SHIPPED:
        remedy = "the package or its weights are damaged; install it again"
    if found.vector.shape != recorded.vector.shape:
        sizes = f"{len(found.vector)} values instead of {len(recorded.vector)}"
        raise MusicrecError(f"{name}: the weights are not those on record, the vector has {sizes}: {remedy}")
    scale = np.linalg.norm(recorded.vector)
    difference = float(np.linalg.norm(found.vector - recorded.vector) / scale)
    cosine = float(found.vector @ recorded.vector / np.linalg.norm(found.vector) / scale)
    numbers = f"relative difference {difference:.1e}, cosine {cosine:.6f}"
    full = found.precision == recorded.precision == "fp32"
    if not difference <= (_TOLERANCE if full else _TOLERANCE_HALF):
        raise MusicrecError(f"{name}: the weights are not those on record ({numbers}): {remedy}")
    log.info("%s: the weights are those on record in %s (%s)", name, path, numbers)
    if found.checkpoint_sha256 != recorded.checkpoint_sha256:
        log.warning(
            "%s: the vector agrees, but the file is another one (SHA-256 %s, on record %s)",
            name,
            found.checkpoint_sha256,
            recorded.checkpoint_sha256,
        )
