"""Which files a log consists of: one file, several, a folder, or an archive as a service exports it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from musicrec.errors import MusicrecError

# Files of a service's export that hold plays: ListenBrainz, Spotify (music, not video or podcasts).
_EXPORTED = (
    re.compile(r"(^|/)listens/\d+/\d+\.jsonl?$"),
    re.compile(r"(^|/)(endsong_\d+|Streaming_History_Audio_[^/]*|StreamingHistory_?(music_?)?\d+)\.json$"),
)
_LOG_SUFFIXES = {".tsv", ".csv", ".txt", ".json", ".jsonl", ".parquet", ".pqt", ".inter", ".data", ".dat", ".log"}
_PACKED = {".gz", ".bz2", ".zst"}
_MAX_SHOWN_FILES = 8
_MAX_USER_BYTES = 1 << 16


@dataclass(frozen=True)
class LogFile:
    """A file to read plays from.

    Attributes:
        path: the file or the archive.
        member: the name within the archive, None for a plain file.
        user: the user whom the export is of, if it says so outside its plays.
    """

    path: Path
    member: str | None = None
    user: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"


def log_files(paths: Sequence[Path]) -> list[LogFile]:
    """Returns the files that `data.plays` stands for, in order.

    Args:
        paths: files, folders, archives (.zip), or patterns such as endsong_*.json.

    Raises:
        MusicrecError: if one does not exist, or it is unclear which of its files hold plays.
    """
    return [file for path in paths for file in _of_path(path)]


def identified_files(paths: Sequence[Path]) -> list[Path]:
    """Returns the files on disk that `data.plays` stands for; empty if one of them is missing or unclear."""
    try:
        return list(dict.fromkeys(file.path for file in log_files(paths)))
    except (MusicrecError, OSError):
        return []


def _of_path(path: Path) -> list[LogFile]:
    if not path.exists():
        found = sorted(path.parent.glob(path.name)) if set(path.name) & set("*?[") else []
        if not found:
            raise MusicrecError(f"the listening log {path} does not exist; set data.plays=FILE")
        return log_files(found)
    if path.is_dir():
        names = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
        return [LogFile(names[name]) for name in _chosen(path, "folder", names)]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names_in = [info.filename for info in archive.infolist() if not info.is_dir()]
            user = _user(archive, names_in)
        return [LogFile(path, name, user) for name in _chosen(path, "archive", names_in)]
    return [LogFile(path)]


def _chosen(path: Path, what: str, names: Iterable[str]) -> list[str]:
    """Returns the names that hold plays: an export's, or else all of the only kind of log that there is."""
    names = [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
    for pattern in _EXPORTED:
        if exported := [name for name in names if pattern.search(name)]:
            return sorted(exported, key=_natural)
    logs = [name for name in names if _kind(name) in _LOG_SUFFIXES]
    if len({(str(PurePosixPath(name).parent), _kind(name)) for name in logs}) == 1:
        return sorted(logs, key=_natural)
    shown = ", ".join(sorted(logs or names)[:_MAX_SHOWN_FILES])
    more = ", …" if len(logs or names) > _MAX_SHOWN_FILES else ""
    if not logs:
        raise MusicrecError(
            f"the listening log {path} is a {what} without logs ({', '.join(sorted(_LOG_SUFFIXES))}); "
            f"it has: {shown or 'nothing'}{more}. Set data.plays=FILE"
        )
    raise MusicrecError(
        f"the listening log {path} is a {what} with several kinds of files ({shown}{more}); "
        f"{'unpack it and ' if what == 'archive' else ''}set data.plays=FILE or data.plays=[FILE,FILE]"
    )


def _kind(name: str) -> str:
    """Returns the extension without that of a compression."""
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in _PACKED else path.suffix


def _natural(name: str) -> list[str | int]:
    """Returns a key that sorts 10.jsonl after 9.jsonl."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _user(archive: zipfile.ZipFile, names: Sequence[str]) -> str | None:
    """Returns the user name in the user.json of a ListenBrainz export."""
    for name in names:
        if PurePosixPath(name).name == "user.json":
            with (
                suppress(ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile),
                archive.open(name) as file,
            ):
                content = json.loads(file.read(_MAX_USER_BYTES))
                user = content.get("username") or content.get("user_name") if isinstance(content, dict) else None
                return str(user) if user else None
    return None
