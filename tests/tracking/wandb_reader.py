"""Reads the file of an offline W&B run, without W&B's server."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

_BLOCK = 32_768  # LevelDB's log format: records are cut at block ends; FULL, FIRST, MIDDLE, LAST
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_HEADER = 7  # of the file, and of each piece: checksum, length, kind


@dataclass
class OfflineRun:
    """Everything the run logged to W&B."""

    run: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read_offline_run(folder: Path) -> OfflineRun:
    """Returns the content of `offline-run-*/run-*.wandb`."""
    found = OfflineRun()
    (path,) = folder.glob("run-*.wandb")
    for content in _records(path.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found.run = {"id": run.run_id, "name": run.display_name, "project": run.project, "group": run.run_group}
            found.run |= {"job_type": run.job_type, "tags": list(run.tags)}
            found.config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif kind == "config":
            found.config |= {item.key: json.loads(item.value_json) for item in record.config.update if item.key}
        elif kind == "summary":
            for item in record.summary.update:
                found.summary["/".join([item.key, *item.nested_key]) if item.key else item.nested_key[0]] = json.loads(
                    item.value_json
                )
        elif kind == "history":
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            found.history.append(row)
        elif kind == "metric":
            found.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _records(data: bytes) -> Iterator[bytes]:
    """Yields the records of the file."""
    assert data[:4] == b":W&B"
    offset, parts = _HEADER, b""
    while offset + _HEADER <= len(data):
        left = _BLOCK - offset % _BLOCK
        if left < _HEADER:
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + _HEADER])
        parts += data[offset + _HEADER : offset + _HEADER + length]
        offset += _HEADER + length
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""
