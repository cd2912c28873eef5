"""Transforms on hand-made tables: literal values, statistics from train only, permutations inside their groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from musicrec.embeddings.tables.transforms import prepared, principal_components, shuffled, transformed
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError

# Tracks 0 and 1 are in train, 2 is cold, 3 has no audio.
TABLE = np.array([[1, 10], [3, 30], [5, 10], [np.nan, np.nan]], dtype=np.float32)
TRAIN, COLD = np.array([0, 1, 1, 0]), np.array([0, 1, 2])


def prepare(
    table: np.ndarray = TABLE, train: np.ndarray = TRAIN, cold: np.ndarray = COLD, **options: Any
) -> np.ndarray:
    return prepared(table, train, cold, VectorOptions(**options), seed=0, name="mine")


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ("center", [[-1, -10], [1, 10], [3, -10]]),
        ("zscore", [[-1, -1], [1, 1], [3, -1]]),
        ("l2", [[1 / 101**0.5, 10 / 101**0.5], [1 / 101**0.5, 10 / 101**0.5], [1 / 5**0.5, 2 / 5**0.5]]),
        # One direction varies in train, (1, 1)/√2 after standardising, with variance 2; the cold track lies at √2.
        ("whiten", [[-(0.5**0.5), -(0.5**0.5)], [0.5**0.5, 0.5**0.5], [0.5**0.5, 0.5**0.5]]),
    ],
)
def test_values_by_hand(transform: str, expected: list[list[float]]) -> None:
    result = prepare(transform=transform)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [*expected, [np.nan, np.nan]], atol=1e-6)


def test_without_options_the_table_is_the_same_object() -> None:
    assert prepare() is TABLE


def test_components_by_hand() -> None:
    table = np.array([[3, 3, 7], [-3, -3, 7], [1, -1, 7], [-1, 1, 7]], dtype=np.float32)
    everything = np.arange(4)
    np.testing.assert_allclose(
        prepare(table, everything, everything, pca=2),
        np.array([[3, 0], [-3, 0], [0, 1], [0, -1]]) * 2**0.5,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        prepare(table, everything, everything, transform="whiten", pca=2),
        np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]) * 2**0.5,
        atol=1e-6,
    )


@pytest.mark.parametrize("pca", [None, 4])
def test_whitened_train_rows_have_identity_covariance(pca: int | None) -> None:
    rng = np.random.default_rng(1)
    table = (rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6)) * [1, 100, 1e-3, 1, 1, 1] + 5).astype(np.float32)
    train = np.arange(0, 60, 2)
    white = prepare(table, train, np.arange(60), transform="whiten", pca=pca)[train].astype(float)
    size = pca or 6
    np.testing.assert_allclose(white.mean(axis=0), np.zeros(size), atol=1e-6)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(size), atol=1e-4)


def test_whitening_survives_more_dimensions_than_tracks() -> None:
    table = np.random.default_rng(2).normal(size=(12, 40)).astype(np.float32)
    train = np.arange(8)
    white = prepare(table, train, np.arange(12), transform="whiten").astype(float)
    variances = np.linalg.eigvalsh(white[train].T @ white[train] / 8)
    np.testing.assert_allclose(variances, [0] * 33 + [1] * 7, atol=1e-5)
    assert np.abs(white[8:]).max() < 10  # nothing was divided by almost zero


def test_both_ways_to_components_agree() -> None:
    rows = np.random.default_rng(3).normal(size=(9, 9))
    small, large = principal_components(rows), principal_components(np.pad(rows, ((0, 0), (0, 3))))
    np.testing.assert_allclose(small.variances, large.variances, atol=1e-12)
    np.testing.assert_allclose(small.axes[:, :8], large.axes[:9, :8], atol=1e-8)
    peaks = np.abs(small.axes).argmax(axis=0)
    assert (small.axes[peaks, np.arange(9)] > 0).all()


def test_statistics_do_not_see_other_tracks() -> None:
    rng = np.random.default_rng(4)
    table = rng.normal(size=(10, 3)).astype(np.float32)
    other = table.copy()
    other[6:] *= 50
    for options in ({"transform": "zscore"}, {"transform": "whiten"}, {"pca": 2}):
        first, second = (prepare(each, np.arange(6), np.arange(10), **options) for each in (table, other))
        np.testing.assert_array_equal(first[:6], second[:6])


@pytest.mark.parametrize("transform", ["center", "zscore", "whiten"])
def test_constant_dimensions_become_zero(transform: str) -> None:
    table = np.array([[0.1, 1], [0.1, 2], [0.1, 4]], dtype=np.float32)
    result = prepare(table, np.arange(3), np.arange(3), transform=transform)
    np.testing.assert_allclose(result[:, 0], 0, atol=1e-7)
    assert np.isfinite(result).all() and np.ptp(result[:, 1]) > 0


def test_a_shuffle_is_a_permutation_inside_each_group() -> None:
    table = np.arange(60, dtype=np.float32).reshape(30, 2)
    table[[4, 25]] = np.nan
    train, cold = np.arange(20), np.arange(28)  # 28 and 29 are no candidates
    result = prepare(table, train, cold, shuffle=True)
    for group in (np.arange(20), np.arange(20, 28)):
        assert sorted(map(str, result[group])) == sorted(map(str, table[group]))
        assert not np.array_equal(result[group], table[group], equal_nan=True)
    np.testing.assert_array_equal(result[[4, 25, 28, 29]], table[[4, 25, 28, 29]])
    np.testing.assert_array_equal(result, prepare(table, train, cold, shuffle=True))
    assert not np.array_equal(result, prepared(table, train, cold, VectorOptions(shuffle=True), 1, ""), equal_nan=True)


def test_shuffle_all_mixes_warm_and_cold() -> None:
    table = np.arange(40, dtype=np.float32)[:, None]
    result = prepare(table, np.arange(20), np.arange(38), shuffle="all")
    assert sorted(result[:38, 0]) == list(range(38)) and result[38:, 0].tolist() == [38, 39]
    assert (result[:20, 0] >= 20).any()
    np.testing.assert_array_equal(shuffled(table, [np.arange(38)], 0), result)


def test_a_transform_commutes_with_a_permutation_of_train() -> None:
    table = np.random.default_rng(5).normal(size=(12, 3)).astype(np.float32)
    whole = np.arange(12)
    both = prepare(table, whole, whole, transform="zscore", shuffle=True)
    alone = prepare(table, whole, whole, transform="zscore")
    np.testing.assert_allclose(both, shuffled(alone, [whole], 0), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": "z"}, "embedding.transform=z is invalid; must be none, center, zscore, whiten, l2"),
        ({"pca": 0}, "embedding.pca=0 is invalid; must be a number of components, 1 or more, or null"),
        ({"pca": True}, "embedding.pca=true is invalid"),
        ({"shuffle": "yes"}, "embedding.shuffle='yes' is invalid; must be false, true or all"),
        (
            {"pca": 2},
            "embedding.pca=2 is invalid; must be at most 1: embedding=mine has 2 dimensions and rows of 2 tra",
        ),
    ],
)
def test_bad_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError) as error:
        prepare(**options)
    assert message in str(error.value)


def test_equal_rows_and_lonely_tracks_are_refused() -> None:
    equal = np.full((3, 2), 7, dtype=np.float32)
    with pytest.raises(MusicrecError, match="all 3 tracks of train have the same vector in embedding=mine"):
        transformed(equal, np.arange(3), VectorOptions("zscore"), "mine")
    with pytest.raises(
        MusicrecError, match="embedding.shuffle=true needs two tracks to exchange: 1 of train has a row"
    ):
        prepare(train=np.array([0, 3]), shuffle=True)


def test_words_of_rows_and_runs() -> None:
    assert VectorOptions().words() == [] and VectorOptions().changed() == {}
    options = VectorOptions.of({"name": "mine", "transform": "l2", "pca": 8, "shuffle": "all"})
    assert options.words() == ["l2", "pca8", "shuffled", "all"]
    assert options.changed() == {"transform": "l2", "pca": 8, "shuffle": "all"}
