"""RunRecord: what `runs/{run}/run.json` says about a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from musicrec.files import read_json, write_json

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
        seconds: duration of the attempt that finished it.
        slurm_job: the job that the attempt ran in.
    """

    status: Status
    settings: dict[str, Any]
    inputs: dict[str, Any]
    attempt: str = ""
    resumes: bool = False
    seconds: float | None = None
    slurm_job: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the content of run.json; what is not known is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> RunRecord:
        """Returns the record that run.json holds, also one of an earlier version, which knew fewer keys."""
        known = {key: content[key] for key in cls.__dataclass_fields__ if key in content}
        record = cls(**{"status": "started", "settings": {}, "inputs": {}, **known})
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
        """Returns the record in a run.json, None if there is none."""
        content = read_json(path)
        return None if content is None else cls.from_json(content)
