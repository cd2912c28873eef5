from __future__ import annotations

import json

from musicrec.embeddings.tables.embedding_info import EmbeddingInfo

# As versions before EmbeddingInfo wrote it.
OLD_AUDIO = {
    "name": "toy",
    "model": "Toy",
    "dim": 3,
    "tracks": 2,
    "tracks_hash": "0123456789abcdef",
    "settings": {"model": "Toy", "checkpoint": None, "layer": None, "max_seconds": 30, "pad": True},
    "versions": {"python": "3.11.9"},
    "precision": "fp32",
    "resampler": "soxr",
    "checkpoint_sha256": "ab",
    "failed": {"b": "empty file (0 bytes)"},
    "failed_files": {"b": [0, 17]},
    "silent": ["a"],
    "damaged": {"a": "truncated: 1.0 s decoded"},
    "throughput": {"tracks": 2, "seconds": {"total": 0.5}},
    "created": "2026-01-02T03:04:05+00:00",
}
OLD_RANDOM = {
    "name": "random",
    "model": "Random",
    "dim": 2,
    "tracks": 3,
    "tracks_hash": "0123456789abcdef",
    "settings": {"model": "Random", "dim": 2, "seed": 0},
    "versions": {"python": "3.11.9"},
    "checkpoint_sha256": None,
    "failed": {},
    "silent": [],
    "damaged": {},
    "created": "2026-01-02T03:04:05+00:00",
}


def test_files_of_earlier_versions_are_read_and_written_alike() -> None:
    for old in (OLD_AUDIO, OLD_RANDOM):
        assert json.loads(json.dumps(EmbeddingInfo.from_json(old).to_json())) == old


def test_keys_that_older_files_lack_have_defaults() -> None:
    info = EmbeddingInfo.from_json({"name": "toy", "precision": "fp32", "settings": {"model": "Toy"}})
    assert (info.model, info.dim, info.tracks, info.resampler, info.failed) == ("Toy", 0, None, "soxr", {})
    assert info.stamp() == {}
    assert EmbeddingInfo.from_json({}).resampler is None
