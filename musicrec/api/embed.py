"""embed_files for an embedding's name, and what the names and options of the API become: a configuration."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from musicrec.checks.composition import composition
from musicrec.checks.configuration import check_settings
from musicrec.config import config_dir
from musicrec.embeddings.base import Embedding
from musicrec.embeddings.configure import make_embedding, with_checkpoint
from musicrec.embeddings.extraction.embed_files import embed_files as embed_with
from musicrec.errors import MusicrecError, demand, shown
from musicrec.overrides import quoted


def embed_files(
    files: Iterable[str | os.PathLike[str]],
    embedding: str | Embedding = "musicnn",
    *,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int = 16,
    num_workers: int | str = "auto",
    **options: Any,
) -> tuple[np.ndarray, dict[str, str]]:
    """Returns the vectors of audio files, (files, dim) float32 in their order, and file -> reason for the NaN rows.

    The code is that of extract.py, so the numbers are the same. Nothing is stored.

    Args:
        files: audio files, in any format that extract.py reads.
        embedding: an option of the group `embedding` that is made from audio, e.g. "musicnn" or "mert"; or an object.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".
        batch_size: clips per batch on a GPU.
        num_workers: processes that decode ahead; "auto" depends on the CPU cores, 0 = none.
        options: keys of the embedding's YAML, e.g. `layer=7` or `max_seconds=30`.

    Raises:
        MusicrecError: an embedding or option that does not exist, one that is not made from audio, or none of the files
            can be embedded.
    """
    if isinstance(files, (str, bytes, os.PathLike)) or not isinstance(files, Iterable):
        raise MusicrecError(f"files={shown(files)} is invalid; must be a list of paths, e.g. embed_files(['song.mp3'])")
    paths = [audio_path(file) for file in files]
    if isinstance(embedding, Embedding):
        demand("options", options, not options, f"given to {type(embedding).__name__} itself")
    else:
        embedding = named_embedding(embedding, options)
    return embed_with(
        paths, embedding, device=device, precision=precision, batch_size=batch_size, num_workers=num_workers
    )


def audio_path(file: object) -> Path:
    """Returns the path of a file, `~` expanded; MusicrecError if it is not a path."""
    if not isinstance(file, (str, os.PathLike)) or isinstance(os.fspath(file), bytes):
        raise MusicrecError(f"{shown(file)} is a {type(file).__name__}; a file must be a str or a Path")
    if "\0" in os.fspath(file):
        raise MusicrecError(f"{shown(os.fspath(file))} cannot be the path of a file")
    return Path(file).expanduser()


def named_embedding(name: str, options: Mapping[str, Any]) -> Embedding:
    """Returns the embedding of an option of the group `embedding`.

    Args:
        name: the option.
        options: keys of its YAML that differ.

    Raises:
        MusicrecError: there is no such option or key, or a value is not allowed.
    """
    cfg = composed({"embedding": name}, {f"embedding.{key}": value for key, value in options.items()})
    check_settings(cfg, "embedding")
    return make_embedding(with_checkpoint(cfg))


def composed(choices: Mapping[str, str], values: Mapping[str, Any]) -> DictConfig:
    """Returns the configuration that the stages get, with conf/local/default.yaml if there is one.

    Args:
        choices: group to option.
        values: dotted key to value; paths may be given as such.

    Raises:
        MusicrecError: there is no such option, or a value cannot be one of a configuration.
    """
    for group, choice in choices.items():
        demand(group, choice, isinstance(choice, str) and choice != "", "the name of an option")
    with composition(), initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("config", [f"{group}={quoted(choice)}" for group, choice in choices.items()])
        OmegaConf.set_struct(cfg, False)
        for key, value in values.items():
            OmegaConf.update(cfg, key, os.fspath(value) if isinstance(value, os.PathLike) else value)
    return cfg
