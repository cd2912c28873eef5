"""Transforms of an embedding's vectors: centring, standardising, whitening, lengths, components, permutation.

All statistics come from the tracks of train. Rows with NaN (tracks without audio) take part in nothing and stay NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError

# A dimension whose standard deviation is below this part of its largest magnitude is constant up to rounding.
_CONSTANT = 1e-6
# Principal components with less than this part of the largest variance are noise, which whitening must not blow up.
_NEGLIGIBLE = 1e-8


class Components(NamedTuple):
    """Principal components, the one with the largest variance first.

    Attributes:
        mean: (dim,) of the rows that they were computed from.
        axes: (dim, components) of length 1; the entry of largest magnitude of each is positive.
        variances: (components,) along them, 0 where negligible.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray


def prepared(
    table: np.ndarray, train: np.ndarray, cold: np.ndarray, options: VectorOptions, seed: int, name: str
) -> np.ndarray:
    """Returns the vectors as a recommender reads them, (tracks, size) float32; the table itself without options.

    Args:
        table: (tracks, dim) as extracted.
        train: track idx of the training rows, the source of all statistics.
        cold: track idx of the candidates that are not in train.
        options: what is done.
        seed: decides the permutation.
        name: of the embedding, for messages.

    Raises:
        MusicrecError: too few tracks to permute, all vectors alike, or more components than there can be.
    """
    if not table.shape[1]:  # embedding=none
        return table
    known = np.isfinite(table).all(axis=1)
    train, cold = np.unique(train), np.setdiff1d(cold, train)
    train, cold = train[known[train]], cold[known[cold]]
    if options.shuffle:
        groups = [np.union1d(train, cold)] if options.shuffle == "all" else [train, cold]
        if len(groups[0]) < 2:
            raise MusicrecError(
                f"embedding.shuffle={str(options.shuffle).lower()} needs two tracks to exchange: {len(groups[0])} of "
                f"train has a row in embedding={name}"
            )
        table = shuffled(table, groups, seed)
    if options.transform == "none" and options.pca is None:
        return table
    return transformed(table, train, options, name)


def shuffled(table: np.ndarray, groups: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Returns the table with its rows permuted within each group; the other rows stay where they are.

    Args:
        table: (tracks, dim).
        groups: (n,) disjoint rows each.
        seed: the same seed gives the same permutation.
    """
    generator = np.random.default_rng(seed)
    result = table.copy()
    for group in groups:
        result[group] = table[generator.permutation(group)]
    return result


def transformed(table: np.ndarray, train: np.ndarray, options: VectorOptions, name: str = "") -> np.ndarray:
    """Returns the transformed vectors, (tracks, dim or `options.pca`) float32.

    The order is transform, then components: `zscore` with `pca` gives the components of the correlation matrix.
    `whiten` standardises, so that units do not matter, and then gives all components variance 1: with `pca` only the
    first ones are kept; without, the vectors are turned back (ZCA), so that dimension i still resembles dimension i.
    Constant dimensions and negligible components become 0.

    Args:
        table: (tracks, dim); NaN rows stay NaN.
        train: (n,) finite rows that the statistics come from.
        options: `transform` and `pca`.
        name: of the embedding, for messages.

    Raises:
        MusicrecError: all vectors of train are alike, or `pca` exceeds the dimensions or the tracks of train less one.
    """
    most = min(len(train) - 1, table.shape[1])
    if options.pca is not None and options.pca > most:
        raise MusicrecError(
            f"embedding.pca={options.pca} is invalid; must be at most {most}: embedding={name} has {table.shape[1]} "
            f"dimensions and rows of {len(train)} tracks of train"
        )
    values = table.astype(np.float64)
    spread = _spread(values[train])
    if (options.transform not in ("none", "l2") or options.pca is not None) and not spread.any():
        raise MusicrecError(
            f"all {len(train)} tracks of train have the same vector in embedding={name}: there is nothing to "
            f"transform; use embedding.transform=none embedding.pca=null, or make the embedding again"
        )
    if options.transform in ("center", "zscore", "whiten"):
        values -= values[train].mean(axis=0)
    if options.transform in ("zscore", "whiten"):
        values = np.where(spread > 0, values / np.where(spread > 0, spread, 1), np.where(np.isnan(values), np.nan, 0))
    if options.transform == "l2":
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        values /= np.where(lengths == 0, 1, lengths)
    if options.transform == "whiten" or options.pca is not None:
        components = principal_components(values[train], options.pca)
        values = (values - components.mean) @ components.axes
        if options.transform == "whiten":
            kept = components.variances > 0
            values *= np.where(kept, 1 / np.sqrt(np.where(kept, components.variances, 1)), 0)
            if options.pca is None:
                values = values @ components.axes.T
    return values.astype(np.float32)


def principal_components(rows: np.ndarray, count: int | None = None) -> Components:
    """Returns the principal components of rows, all of them by default.

    Args:
        rows: (n, dim) float64.
        count: how many; at most min(n, dim).
    """
    mean = rows.mean(axis=0)
    centred = rows - mean
    if rows.shape[1] <= len(rows):
        variances, axes = np.linalg.eigh(centred.T @ centred / len(rows))
    else:
        # Fewer tracks than dimensions: the small matrix has the same positive eigenvalues.
        variances, sides = np.linalg.eigh(centred @ centred.T / len(rows))
        axes = centred.T @ sides
        axes /= np.maximum(np.linalg.norm(axes, axis=0), np.finfo(float).tiny)
    order = np.argsort(-variances, kind="stable")[:count]
    variances, axes = variances[order], axes[:, order]
    variances = np.where(variances > _NEGLIGIBLE * max(variances.max(initial=0), 0), variances, 0)
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return Components(mean, axes * np.where(signs == 0, 1, signs), variances)


def _spread(rows: np.ndarray) -> np.ndarray:
    """Returns the standard deviation of every dimension (dividing by n), 0 where it is rounding alone."""
    spread: np.ndarray = rows.std(axis=0)
    return np.where(spread > _CONSTANT * np.abs(rows).max(axis=0, initial=0), spread, 0)
