"""embed_files: from a list of audio files to a matrix of vectors, without a workspace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from musicrec.embeddings.base import AudioEmbedding, Embedding
from musicrec.embeddings.extraction.inference import torch_device
from musicrec.embeddings.extraction.job import run
from musicrec.embeddings.extraction.request import Request
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace


def embed_files(
    files: Iterable[str | Path],
    embedding: Embedding,
    *,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int = 16,
    num_workers: int | str = "auto",
) -> tuple[np.ndarray, dict[str, str]]:
    """Returns the vectors of audio files, (files, dim) float32 in their order, and file -> reason for the NaN rows.

    The same code runs as in `extract.py`, so the numbers are the same.

    Args:
        files: audio files.
        embedding: an embedding made from audio, e.g. `MusicNN()`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".
        batch_size: clips per batch on a GPU.
        num_workers: processes that decode ahead; "auto" depends on the CPU cores, 0 = none.

    Raises:
        MusicrecError: `embedding` needs no audio; none of the files can be embedded.
    """
    if not isinstance(embedding, AudioEmbedding):
        raise MusicrecError(f"embedding={embedding.name} is not made from audio; embed_files needs one that is")
    names = [str(file) for file in files]
    if not names:
        return np.empty((0, _dimensions(embedding, torch_device(device), precision)), np.float32), {}
    tracks = TrackIndex(list(dict.fromkeys(names)))
    with TemporaryDirectory(prefix="musicrec-") as folder:
        paths = {name: Path(name) for name in tracks.ids}
        request = Request(embedding, Workspace(Path(folder)), tracks, paths, precision)
        report = run(request, device, batch_size, num_workers)
        vectors = np.load(report.path)
    return vectors[[tracks.row(name) for name in names]], report.failed


def _dimensions(embedding: AudioEmbedding, device: str, precision: str) -> int:
    """Returns the length of the vectors, from that of the shortest silence."""
    embedding.load(device, precision)
    silence = np.zeros(embedding.min_samples, np.float32)
    return int(embedding.embed([embedding.prepare(silence)]).shape[1])
