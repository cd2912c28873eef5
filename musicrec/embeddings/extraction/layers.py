"""A table per layer of an embedding, from one pass over the audio (`embedding.layer=each`)."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from omegaconf import DictConfig, OmegaConf

from musicrec.embeddings.base import Embedding
from musicrec.embeddings.configure import make_embedding
from musicrec.embeddings.pretrained.base import Pretrained
from musicrec.embeddings.tables import store
from musicrec.embeddings.tables.embedding_info import EmbeddingInfo
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

# The value of `embedding.layer` that stands for every layer, each a table of its own.
EACH = "each"


def layer_name(name: str, layer: int | str) -> str:
    """Returns what the table of a layer is called.

    >>> layer_name("mert", 7)
    'mert_layer7'
    """
    return f"{name}_layer{layer}"


def make_joined(node: DictConfig) -> tuple[DictConfig, Embedding]:
    """Returns the embedding with all layers side by side in one table, which one pass over the audio makes.

    Args:
        node: the group `embedding`.

    Returns:
        The group as it describes that table, and the embedding.

    Raises:
        MusicrecError: if the embedding has no numbered layers.
    """
    wanted = node.copy()
    OmegaConf.set_struct(wanted, False)
    wanted.layer, wanted.layer_pooling, wanted.name = "all", "concat", f"{node.name}_layers"
    try:
        if "layer_pooling" in node:
            return wanted, make_embedding(wanted)
    except MusicrecError as error:
        if "embedding.layer=all" not in str(error):
            raise
    raise MusicrecError(
        f"embedding={node.name} has no numbered layers, which embedding.layer={EACH} needs; choose one that has: mert, "
        "music2vec, muq, musicfm, encodecmae, hf"
    )


def split_layers(embedding: Embedding, workspace: Workspace, name: str, tracks: int) -> list[int]:
    """Makes the tables of the layers from the joined one, where they are not up to date; returns the layers' numbers.

    Args:
        embedding: that of `make_joined`.
        workspace: where the tables are.
        name: of the embedding without a layer.
        tracks: number of tracks of the index; [] while the joined table has fewer rows (shards are missing).

    Raises:
        MusicrecError: if the joined table is damaged, or its layers have different sizes.
    """
    path = workspace.embedding(embedding.name)
    info = store.read_info(workspace.embedding_info(embedding.name))
    if info is None or info.tracks != tracks or not isinstance(embedding, Pretrained) or not path.is_file():
        return []
    if found := made_layers(workspace, name, info):
        return found
    if embedding.depth is None:
        embedding.load()
    assert embedding.depth is not None
    numbers = list(range(embedding.first_of_all, embedding.depth + 1))
    whole = store.open_table(path)
    store.check_content(path, whole, info)
    size, rest = divmod(whole.shape[1], len(numbers))
    if rest:
        raise MusicrecError(f"the {len(numbers)} layers of {name} have different sizes: extract them one by one")
    for place, number in enumerate(numbers):
        own = layer_name(name, number)
        with store.writing(workspace.embedding(own), (len(whole), size)) as table:
            table[:] = whole[:, place * size : (place + 1) * size]
        settings = {**info.settings, "layer": number}
        store.write_info(workspace.embedding_info(own), replace(info, name=own, dim=size, settings=settings))
    log.info("%s: %d layers of %d dimensions, from one pass", layer_name(name, "*"), len(numbers), size)
    return numbers


def made(embedding: Embedding, workspace: Workspace, name: str) -> list[int]:
    """Returns the numbers of the layers if there is a table of each with a row per track of the index; else [].

    Raises:
        MusicrecError: they were made with other settings.
    """
    info = store.read_info(workspace.embedding_info(embedding.name))
    if info is None or not workspace.track_index.is_file():
        return []
    path = workspace.embedding(embedding.name)
    store.check_settings(info, embedding.name, embedding.settings(), path)
    tracks = TrackIndex.load(workspace.track_index)
    return made_layers(workspace, name, info) if info.stamp() == tracks.stamp() else []


def made_layers(workspace: Workspace, name: str, info: EmbeddingInfo) -> list[int]:
    """Returns the numbers of the layers whose tables are those of a joined one; [] unless all of them are there.

    Args:
        workspace: where the tables are.
        name: of the embedding without a layer.
        info: of the joined table, which itself may have been deleted.
    """
    numbers, columns = [], 0
    for path in workspace.embedding_info(name).parent.glob(f"{layer_name(name, '*')}.json"):
        number = re.fullmatch(r"\d+", path.stem.removeprefix(layer_name(name, "")))
        if number is None or not path.with_suffix(".npy").is_file():
            continue
        own = store.read_info(path)
        # Also what a repeated extraction changes: weights, and the time that it took.
        if own == replace(
            info,
            name=path.stem,
            dim=own.dim if own else 0,
            settings={**info.settings, "layer": int(number[0])},
            vectors_hash=own.vectors_hash if own else None,
            created=own.created if own else None,
        ):
            numbers.append(int(number[0]))
            columns += own.dim
    return sorted(numbers) if columns == info.dim else []
