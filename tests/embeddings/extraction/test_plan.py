from __future__ import annotations

import json

import numpy as np
import pytest

from musicrec.embeddings.extraction.plan import Plan, Work

# As versions before Plan wrote it.
OLD = {
    "settings": {"model": "Toy", "max_seconds": None},
    "precision": "fp32",
    "resampler": "soxr",
    "tracks": 10,
    "tracks_hash": "0123456789abcdef",
    "num_shards": 3,
    "chunk": 2,
    "fresh": False,
    "checkpoint_sha256": "ab",
}
PLAN = Plan.from_json(OLD)


@pytest.mark.parametrize("left_out", [(), ("checkpoint_sha256",)])
def test_files_of_earlier_versions_are_read_and_written_alike(left_out: tuple[str, ...]) -> None:
    content = {key: value for key, value in OLD.items() if key not in left_out}
    assert json.loads(json.dumps(Plan.from_json(content).to_json())) == content


def test_shards_take_chunks_in_turn() -> None:
    np.testing.assert_array_equal(PLAN.shards(np.arange(10)), [0, 0, 1, 1, 2, 2, 0, 0, 1, 1])
    done = np.ones(10, dtype=bool)
    done[[3, 8, 9, 4]] = False
    assert PLAN.missing_shards(done) == [(1, "shard 1 of 3 (3 tracks)"), (2, "shard 2 of 3 (1 tracks)")]


def test_rows_are_grouped_by_chunk() -> None:
    assert Work(PLAN, None, (0, 3, 6, 7)).chunks() == [[0], [3], [6, 7]]
