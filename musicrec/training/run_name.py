"""Run names: readable, the same for the same settings and seed, different for different ones."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from musicrec.config import option, without_unread_embedding
from musicrec.data.splits.settings import WINDOWED
from musicrec.embeddings.tables.vector_options import VectorOptions, names
from musicrec.values import FileName, checked

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Settings that decide where and how comfortably a run runs, not what it computes.
_WITHOUT_EFFECT = {
    "data": {
        *("_target_", "audio_dir", "plays", "artists", "artist_column", "users"),
        *("make_missing", "memory_limit", "seed"),
    },
    "trainer": {
        "_target_",
        "accelerator",
        "num_nodes",
        "default_root_dir",
        "enable_progress_bar",
        "enable_model_summary",
        "log_every_n_steps",
        "num_sanity_val_steps",
        "profiler",
    },
    "recommender": {"_target_", "_partial_", "folder"},
    "embedding": {"_target_"},
}
# Settings of `data` that only one split reads.
_OF_WINDOWS = {"val_window", "test_window", "gap"}
# Callbacks that watch and save without changing what is computed.
_WATCHING = {"last_checkpoint", "preemption", "learning_rate", "progress"}
NO_EMBEDDING = "none"  # conf/embedding/none.yaml
_LONGEST = 120  # characters of the readable part; file systems allow 255 in all


def settings(cfg: DictConfig, *, read: bool = False) -> dict[str, Any]:
    """Returns what decides a run's numbers: seed, recommender, embedding, data and training settings, resolved.

    Args:
        cfg: the composed configuration.
        read: whether its embedding is known to be read; otherwise the class of the recommender, imported for that, says
            it (`without_unread_embedding`).
    """
    cfg = cfg if read else without_unread_embedding(cfg)
    chosen: dict[str, Any] = {"seed": cfg.seed, "top_k": cfg.eval.top_k}
    for group, ignored in _WITHOUT_EFFECT.items():
        values = OmegaConf.to_container(cfg[group], resolve=True)
        assert isinstance(values, dict)
        chosen[group] = {str(key): value for key, value in values.items() if key not in ignored}
    if chosen["data"].get("split") != WINDOWED:
        chosen["data"] = {key: value for key, value in chosen["data"].items() if key not in _OF_WINDOWS}
    # Only what differs from the defaults, so that runs of earlier versions, which had no such keys, keep their names.
    if chosen["recommender"].get("ema_decay") is None:
        chosen["recommender"].pop("ema_decay", None)
    own = {key: value for key, value in chosen["embedding"].items() if key not in names()}
    chosen["embedding"] = own | VectorOptions.of(chosen["embedding"]).changed()
    if cfg.eval.repeat:
        chosen["repeat"] = True
    if "max_epochs" in cfg.recommender:  # it is trained
        chosen["monitor"] = cfg.monitor
        for group in ("optimizer", "scheduler"):
            chosen[group] = OmegaConf.to_container(cfg[group], resolve=True)
    # Only what differs from the default, so that a run keeps its name when a default callback is added to musicrec.
    if changed := _changed_callbacks(cfg):
        chosen["callbacks"] = changed
    return chosen


def run_name(cfg: DictConfig, chosen: dict[str, Any] | None = None, *, read: bool = False) -> str:
    """Returns `run_name` if given, else e.g. `bert_mert_max_seq_len-50_s0_3f2a91bc`.

    The readable part lists what differs from the defaults of the recommender and the embedding; the hash at the end
    covers every setting. A run that reads no embedding names none: `elsa_s0_91bc3f2a`.

    Args:
        cfg: the composed configuration.
        chosen: what `settings` returns for it, if that is known already.
        read: see `settings`.

    Raises:
        MusicrecError: if `run_name`, or the name of the recommender or embedding, cannot be that of a file.
    """
    for key in ("recommender", "embedding"):
        checked(f"{key}.name", str(cfg[key].name), FileName)
    if cfg.run_name is not None:
        return str(checked("run_name", str(cfg.run_name), FileName))
    cfg = cfg if read else without_unread_embedding(cfg)
    chosen = settings(cfg, read=True) if chosen is None else chosen
    digest = hashlib.sha256(json.dumps(chosen, sort_keys=True, default=str).encode()).hexdigest()[:8]
    named = str(cfg.recommender.name), str(cfg.embedding.name)
    parts = [name for name in named if name != NO_EMBEDDING]
    parts += VectorOptions.of(chosen["embedding"]).words()
    parts += ["repeat"] if chosen.get("repeat") else []
    for group in ("recommender", "embedding"):
        defaults = option(group, str(cfg[group].name))
        for key, value in chosen[group].items():
            # An interpolated default cannot be compared here; the hash still distinguishes such runs.
            default = defaults.get(key, value)
            if value != default and not str(default).startswith("${"):
                parts.append(f"{key}-{_short(value)}")
    epochs = chosen["trainer"].get("max_epochs")
    if epochs != chosen["recommender"].get("max_epochs", 0):
        parts.append(f"epochs-{epochs}")
    return f"{'_'.join(parts)[:_LONGEST]}_s{cfg.seed}_{digest}"


def _changed_callbacks(cfg: DictConfig) -> dict[str, Any]:
    """Returns the callbacks as configured that the default group has otherwise or not at all; None for a missing one.

    They are compared as written: what they refer to (`${recommender.patience}`) is part of the settings anyway.
    """
    wanted = OmegaConf.to_container(cfg.callbacks, resolve=False)
    assert isinstance(wanted, dict)
    default = option("callbacks", "default")
    names = [str(name) for name in wanted] + [name for name in default if name not in wanted]
    changed = {name: wanted.get(name) for name in names if wanted.get(name) != default.get(name)}
    return {name: changed[name] for name in sorted(changed.keys() - _WATCHING)}


def _short(value: Any) -> str:
    """Returns a value in characters that are safe in file names and on a Hydra command line."""
    if isinstance(value, str) and "/" in value:
        value = Path(value).name
    return re.sub(r"[^A-Za-z0-9.+]+", "-", str(value)).strip("-")[:32]
