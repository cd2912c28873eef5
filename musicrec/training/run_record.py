"""RunRecord: what `runs/{run}/run.json` says about a run."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from musicrec.errors import first_line
from musicrec.files import read_json, write_json

log = logging.getLogger(__name__)

Status = Literal["started", "finished"]


@dataclass(frozen=True)
class RunRecord:
    """How far a run came and what it was made from.

    Attributes:
        status: `finished` once all its files are written.
        settings: what decides its numbers, see `musicrec.training.run_name.settings`.
        inputs: hashes of what it read.
        attempt: identifies one start of the run; its processes share it.
        resumes: whether this attempt continues an earlier one.
        resumes_from: the checkpoint from which it does, `last` or `best`.
        seconds: duration of the attempt that finished it.
        slurm_job: the job that the attempt ran in.
        device: what that attempt was computed on, see `musicrec.devices.Device`.
        reads_embedding: whether the recommender reads an embedding that it is given; earlier versions do not say it.
        owner: the process that the run belongs to while it is trained, see `musicrec.training.owner.Owner`.
    """

    status: Status
    settings: dict[str, Any]
    inputs: dict[str, Any]
    attempt: str = ""
    resumes: bool = False
    resumes_from: str | None = None
    seconds: float | None = None
    slurm_job: str | None = None
    device: dict[str, Any] | None = None
    reads_embedding: bool | None = None
    owner: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the content of run.json; what is not known is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> RunRecord:
        """Returns the record that run.json holds, also one of an earlier version, which knew fewer keys.

        Raises:
            ValueError: if the content is not that of a run.json.
        """
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        known = {key: content[key] for key in cls.__dataclass_fields__ if key in content}
        record = cls(**{"status": "started", "settings": {}, "inputs": {}, **known})
        if record.status not in get_args(Status):
            raise ValueError(f"unknown status {record.status!r}")
        if not isinstance(record.settings, dict) or not isinstance(record.inputs, dict):
            raise ValueError("settings and inputs must be objects")
        data = record.settings.get("data")
        if not isinstance(data, dict):
            return record
        # Earlier versions recorded the class of the data source, which says where its code is and not what it does.
        without = {key: value for key, value in data.items() if key != "_target_"}
        return replace(record, settings={**record.settings, "data": without})

    def write(self, path: Path) -> None:
        """Writes run.json."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> RunRecord | None:
        """Returns the record in a run.json; None if there is none, or with a warning if it is damaged."""
        try:
            content = read_json(path)
            return None if content is None else cls.from_json(content)
        except (ValueError, RecursionError) as error:
            log.warning("%s is damaged (%s); the run counts as not started", path, first_line(error))
            return None
