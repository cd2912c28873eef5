"""What stands between frozen vectors and a network: statistics of the vectors of training tracks."""

from __future__ import annotations

import numpy as np

from musicrec.embeddings.tables.transforms import transformed
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError


def standardised(vectors: np.ndarray, rows: np.ndarray, kind: str = "zscore") -> np.ndarray:
    """Returns (candidates, dim) float32 vectors after `embedding.transform=zscore`, or `whiten`.

    Args:
        vectors: (candidates, dim).
        rows: those that the statistics come from.
        kind: name of the transform.

    Raises:
        MusicrecError: if all rows are alike.
    """
    try:
        return transformed(vectors, rows, VectorOptions(kind))
    except MusicrecError:
        raise MusicrecError(
            "all tracks of train have the same vector: there is nothing to learn from this embedding"
        ) from None
