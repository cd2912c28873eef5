"""From the composed configuration to an embedding."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from musicrec.config import family, option
from musicrec.embeddings.base import Embedding
from musicrec.embeddings.tables.vector_options import without_options
from musicrec.errors import demand
from musicrec.options import make


def make_embedding(node: DictConfig) -> Embedding:
    """Returns the embedding that the group `embedding` describes.

    What is done to its vectors (`embedding.transform` …) is up to the run that reads them.

    Args:
        node: `_target_`, arguments of its constructor, and the keys of `VectorOptions`.

    Raises:
        MusicrecError: for a key that the constructor does not know, or a value that it refuses.
    """
    embedding: Embedding = make(without_options(node), "embedding")
    return embedding


def with_checkpoint(cfg: DictConfig) -> DictConfig:
    """Returns the group `embedding` with the weights that `checkpoints` names for the chosen option, if it names any.

    A variant (`music2vec_24khz`) has the weights of the option that it builds on. `embedding.checkpoint` comes first.
    The path is where this machine has the weights, and no setting of a run.

    Args:
        cfg: the composed configuration.

    Raises:
        MusicrecError: if `checkpoints` names something that is no embedding with weights.
    """
    node, known = cfg.embedding, cfg.get("checkpoints") or {}
    for name, path in known.items():
        chosen = option("embedding", str(name)) or (node if str(name) == str(node.get("name")) else {})
        demand(f"checkpoints.{name}", path, path is None or "checkpoint" in chosen, "that of an option of embedding")
        demand(f"checkpoints.{name}", path, path is None or isinstance(path, str), "a path")
    choice = str(HydraConfig.get().runtime.choices.get("embedding", "")) if HydraConfig.initialized() else ""
    names = [each for name in dict.fromkeys((choice, str(node.get("name", "")))) for each in family("embedding", name)]
    path = next((known[name] for name in names if known.get(name) is not None), None)
    if path is None or "checkpoint" not in node or node.checkpoint is not None:
        return node
    changed = node.copy()
    changed.checkpoint = path
    return changed
