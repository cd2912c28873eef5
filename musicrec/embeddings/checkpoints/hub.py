"""Fetches published checkpoints from the Hugging Face hub once; they are kept in its cache."""

from __future__ import annotations

import logging
import shlex
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, RevisionNotFoundError

from musicrec.embeddings.checkpoints.shards import is_index, shard_names
from musicrec.errors import MusicrecError, first_line

log = logging.getLogger(__name__)

# Seconds after which an unreachable hub is given up.
_TIMEOUT = 10.0


def fetch(repository: str, revision: str, files: tuple[tuple[str, ...], ...]) -> Path:
    """Returns the folder of the hub's cache that has the files of a model; downloads what is missing.

    Cached files are used without asking the hub, so jobs need no network and a whole sweep uses the same files.

    Args:
        repository: "owner/name".
        revision: commit, branch or tag.
        files: for each file needed its possible names, the preferred one first; all lie in one folder.

    Raises:
        MusicrecError: the hub cannot be reached (or HF_HUB_OFFLINE is set), or has no such files; says what to do.
    """
    try:
        cached = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        found = [file for names in files if (file := _first(cached, names))]
        if len(found) == len(files) and _complete(found):
            return found[0].parent
    except LocalEntryNotFoundError:
        pass
    if constants.HF_HUB_OFFLINE:
        raise MusicrecError(_by_hand(repository, revision, files, "HF_HUB_OFFLINE is set"))
    try:
        # One short question first: the download itself would retry for a long time.
        listed = HfApi().model_info(repository, revision=revision, timeout=_TIMEOUT).siblings or []
        names = [_choose(repository, [file.rfilename for file in listed], choices) for choices in files]
        log.info("fetching %s from https://huggingface.co/%s (revision %s)", ", ".join(names), repository, revision)
        fetched = Path(snapshot_download(repository, revision=revision, allow_patterns=names))
        for name in filter(is_index, names):
            shards = [str(PurePosixPath(name).with_name(shard)) for shard in shard_names(fetched / name)]
            log.info("fetching %s", ", ".join(shards))
            snapshot_download(repository, revision=revision, allow_patterns=shards)
        return (fetched / names[0]).parent
    except MusicrecError:
        raise
    except RevisionNotFoundError:
        raise MusicrecError(
            f"https://huggingface.co/{repository} has no revision {revision}; embedding.revision=main takes the newest"
        ) from None
    except Exception as error:  # the hub's HTTP client, and with it the classes of errors, differ between versions
        raise MusicrecError(_by_hand(repository, revision, files, first_line(error))) from None


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Returns the first file in a folder or below it that has one of these names."""
    return next((file for name in names for file in folder.rglob(name)), None)


def _complete(files: list[Path]) -> bool:
    """Returns whether the files that an index among these lists are there too."""
    indices = (file for file in files if is_index(file.name))
    return all((index.parent / name).is_file() for index in indices for name in shard_names(index))


def _choose(repository: str, listed: list[str], choices: tuple[str, ...]) -> str:
    """Returns the first of the names that the repository has."""
    for choice in choices:
        for name in listed:
            if fnmatch(name, choice) or fnmatch(name, f"*/{choice}"):
                return name
    raise MusicrecError(
        f"https://huggingface.co/{repository} has no {' or '.join(choices)}; give another embedding.revision, or your "
        "own copy as embedding.checkpoint"
    )


def _by_hand(repository: str, revision: str, files: tuple[tuple[str, ...], ...], reason: str) -> str:
    """Returns the message that says how to get the files without network here."""
    folder = repository.split("/")[-1]
    includes = " ".join(f"--include {shlex.quote(name)}" for names in files for name in names)
    return (
        f"cannot fetch {repository} from the Hugging Face hub ({reason}): where there is a network, run: "
        f"hf download {repository} --revision {revision} {includes} --local-dir {folder} "
        f"and here give embedding.checkpoint=/path/to/{folder}"
    )
