"""The words of a command that asks for every layer of an embedding (`embedding.layer=each`), as a sweep over layers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser

from musicrec.errors import MusicrecError

_EACH = "embedding.layer=each"
_EXPERIMENT = re.compile(r"\+?experiment(@_global_)?=.*\blayers\b.*")
_MULTIRUN = ("-m", "--multirun")
# Flags with which nothing is run.
_SHOWING = ("-h", "--help", "--hydra-help", "--cfg", "-c", "--info", "-i", "-sc", "--shell-completion")


def asks_for_each_layer(words: Sequence[str]) -> bool:
    """Returns whether a command trains on every layer of an embedding.

    >>> asks_for_each_layer(["experiment=layers", "embedding=mert"])
    True
    >>> asks_for_each_layer(["experiment=layers", "--cfg", "job"]), asks_for_each_layer(["embedding.layer=7"])
    (False, False)
    """
    if any(word.partition("=")[0] in _SHOWING for word in words) or "status" in _keys(words):
        return False
    return any(word == _EACH or _EXPERIMENT.fullmatch(word) for word in words)


def without_sweep(words: Sequence[str]) -> list[str]:
    """Returns the overrides that all jobs of a sweep share, without those of Hydra itself.

    Raises:
        MusicrecError: if embeddings are swept, which have different numbers of layers.

    >>> without_sweep(["-m", "experiment=layers", "embedding=mert", "recommender=knn,shallow", "hydra/launcher=slurm"])
    ['experiment=layers', 'embedding=mert']
    """
    parser, kept = OverridesParser.create(), []
    for word in get_args_parser().parse_args(list(words)).overrides:
        override = parser.parse_override(word)
        if word.startswith("hydra"):
            continue
        if not override.is_sweep_override():
            kept.append(word)
        elif override.get_key_element() == "embedding":
            raise MusicrecError(f"{word!r}: embeddings have different layers; run experiment=layers for one at a time")
    return kept


def layer_sweep(words: Sequence[str], name: str, layers: Sequence[int]) -> list[str]:
    """Returns the words of a sweep over layers, each of which is a table of its own.

    >>> layer_sweep(["experiment=layers", "embedding=mert", "seed=1"], "mert", [0, 1])
    ['-m', 'embedding.layer=0,1', 'embedding.name=mert_layer${embedding.layer}', 'experiment=layers', \
'embedding=mert', 'seed=1']

    Args:
        words: as typed.
        name: of the embedding without a layer.
        layers: their numbers.
    """
    left = [word for word in words if word.partition("=")[0] not in ("embedding.layer", "embedding.name")]
    ours = [f"embedding.layer={','.join(map(str, layers))}", f"embedding.name={name}_layer${{embedding.layer}}"]
    flags = [] if any(word in _MULTIRUN for word in left) else ["-m"]
    first = next((index for index, word in enumerate(left) if "=" in word and not word.startswith("-")), len(left))
    return [*flags, *left[:first], *ours, *left[first:]]


def _keys(words: Sequence[str]) -> set[str]:
    return {word.partition("=")[0] for word in words}
