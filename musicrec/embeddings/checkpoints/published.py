"""PublishedWeights: where the weights of a model are published, and the local copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicrec.embeddings.checkpoints import hub
from musicrec.embeddings.checkpoints.cache import announce_licence
from musicrec.errors import MusicrecError


@dataclass(frozen=True)
class PublishedWeights:
    """Weights on the Hugging Face hub, or a local copy of them.

    Attributes:
        hub: repository, "owner/name".
        revision: commit, branch or tag.
        checkpoint: instead of these: local file or folder as the upstream publishes it.
        files: to be fetched: for each file its possible names, the preferred one first.
        licence: of the weights, as shown to the user.
    """

    hub: str
    revision: str
    checkpoint: str | None
    files: tuple[tuple[str, ...], ...]
    licence: str

    def settings(self) -> dict[str, Any]:
        """Returns what identifies the weights, as an embedding records it."""
        return {"checkpoint": self.checkpoint, "hub": self.hub, "revision": self.revision}

    def local(self) -> Path:
        """Returns the local file or folder, fetched if necessary; logs the licence at the first use.

        Raises:
            MusicrecError: missing or unreachable; says what to do.
        """
        if self.checkpoint is None:
            path = hub.fetch(self.hub, self.revision, self.files)
        else:
            path = Path(self.checkpoint).expanduser()
            if not path.exists():
                raise MusicrecError(
                    f"embedding.checkpoint: {path} does not exist; null = https://huggingface.co/{self.hub}"
                )
        announce_licence(self.hub, self.licence, f"https://huggingface.co/{self.hub}")
        return path
