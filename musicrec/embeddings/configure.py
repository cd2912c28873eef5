"""From the composed configuration to an embedding."""

from __future__ import annotations

from omegaconf import DictConfig

from musicrec.embeddings.base import Embedding
from musicrec.embeddings.tables.vector_options import without_options
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
