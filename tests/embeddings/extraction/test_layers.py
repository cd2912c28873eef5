"""embedding.layer=each: tables of all layers from one pass, equal to those extracted one by one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.embeddings.mert import MERT
from musicrec.embeddings.tables import store
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace

GOLDEN = Path(__file__).parents[2] / "golden"
CLIP = GOLDEN / "musicnn" / "frozenbubble_intro_16k_mono.wav"
TINY = str(GOLDEN / "mert" / "v1_95m" / "checkpoint")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Returns a folder of two clips and a file that cannot be decoded."""
    folder = tmp_path / "music"
    folder.mkdir()
    shutil.copy(CLIP, folder / "a.wav")
    shutil.copy(GOLDEN / "musicnn" / "etr_spunkyrace_44k_stereo.mp3", folder / "b.mp3")
    (folder / "broken.wav").write_text("no audio")
    return folder


Extract = Callable[..., DictConfig]


@pytest.fixture
def extract(compose: Callable[..., DictConfig], music: Path) -> Extract:
    """Returns a function that extracts from the folder, and returns the configuration."""

    def extracted(*overrides: str) -> DictConfig:
        words = ["data=custom", "data.name=mine", f"data.audio_dir={music}", "extract.device=cpu"]
        words += ["extract.num_workers=0", "embedding.max_seconds=1"]
        cfg = compose(*words, *overrides)
        stages.extract(cfg)
        return cfg

    return extracted


MERT_TINY = ("embedding=mert", f"embedding.checkpoint={TINY}")


def test_tables_equal_those_of_single_layers(extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waves: list[int] = []
    embed = MERT.embed

    def counted(self: MERT, batch: list[np.ndarray]) -> np.ndarray:
        waves.append(len(batch))
        return embed(self, batch)

    monkeypatch.setattr(MERT, "embed", counted)
    cfg = extract("experiment=layers", *MERT_TINY)
    assert sum(waves) == 2  # one pass over the two clips, whatever the number of layers
    workspace = Workspace(tmp_path / "workspace")
    tracks = TrackIndex.load(workspace.track_index)
    assert stages.layers(cfg) == [0, 1, 2, 3, 4] and sum(waves) == 2
    for layer in range(5):
        table = np.load(workspace.embedding(f"mert_layer{layer}"))
        assert table.shape == (3, 32) and np.isnan(table[2]).all()
        extract(*MERT_TINY, f"embedding.layer={layer}", "embedding.name=alone", "extract.overwrite=true")
        np.testing.assert_array_equal(table, np.load(workspace.embedding("alone")))
        # What train.py reads: the settings are those of an extraction of this layer alone.
        name = f"mert_layer{layer}"
        own = MERT(
            name, checkpoint=TINY, max_seconds=1, pad=True, layer=layer, sample_rate=24_000, revision=_revision()
        )
        np.testing.assert_array_equal(own.table(workspace, tracks), table)
        assert list(json.loads(workspace.embedding_info(name).read_text())["failed"]) == ["broken"]


def _revision() -> str:
    from musicrec.config import option  # noqa: PLC0415 - only here

    return str(option("embedding", "mert")["revision"])


def test_what_is_there_is_not_made_again_and_new_files_are(extract: Extract, music: Path, tmp_path: Path) -> None:
    cfg = extract("experiment=layers", *MERT_TINY)
    workspace = Workspace(tmp_path / "workspace")
    written = [workspace.embedding(f"mert_layer{layer}").stat().st_mtime_ns for layer in range(5)]
    extract("experiment=layers", *MERT_TINY)
    assert written == [workspace.embedding(f"mert_layer{layer}").stat().st_mtime_ns for layer in range(5)]
    workspace.embedding("mert_layer3").unlink()
    assert stages.layers(cfg) == [0, 1, 2, 3, 4]
    assert workspace.embedding("mert_layer3").is_file()
    before = np.load(workspace.embedding("mert_layer2"))
    shutil.copy(CLIP, music / "c.wav")
    extract("experiment=layers", *MERT_TINY)
    after = np.load(workspace.embedding("mert_layer2"))
    assert after.shape == (4, 32)
    np.testing.assert_array_equal(after[:3], before)
    np.testing.assert_array_equal(after[3], before[0])
    # The joined table may be deleted; the others serve without it.
    workspace.embedding("mert_layers").unlink()
    assert stages.layers(cfg) == [0, 1, 2, 3, 4]
    with pytest.raises(MusicrecError, match="mert_layers.npy was .*max_seconds"):
        extract("experiment=layers", *MERT_TINY, "embedding.max_seconds=2")


def test_encodecmae_starts_with_its_first_layer(extract: Extract, tmp_path: Path) -> None:
    checkpoint = f"embedding.checkpoint={GOLDEN}/encodecmae/v1"
    cfg = extract("embedding=encodecmae", checkpoint, "embedding.layer=each")
    layers = stages.layers(cfg)
    assert layers[0] == 1 and layers == list(range(1, len(layers) + 1))
    extract("embedding=encodecmae", checkpoint, "embedding.layer=1", "embedding.name=alone")
    workspace = Workspace(tmp_path / "workspace")
    first, alone = (np.load(workspace.embedding(name)) for name in ("encodecmae_layer1", "alone"))
    np.testing.assert_array_equal(first, alone)


@pytest.mark.parametrize("embedding", ["mfcc", "musicnn", "clap", "random", "none", "muq_mulan"])
def test_an_embedding_without_layers_is_refused(compose: Callable[..., DictConfig], embedding: str) -> None:
    message = (
        f"embedding={embedding} has no numbered layers, which embedding.layer=each needs; choose one that has: mert"
    )
    for stage in (stages.extract, stages.layers):
        with pytest.raises(MusicrecError, match=message):
            stage(compose("data=custom", "experiment=layers", f"embedding={embedding}"))


def test_other_mistakes_keep_their_messages(compose: Callable[..., DictConfig], tmp_path: Path) -> None:
    words: list[Any] = ["data=custom", "experiment=layers", "embedding=mert", f"embedding.checkpoint={TINY}"]
    with pytest.raises(MusicrecError, match="needs a folder of audio; set data.audio_dir=FOLDER"):
        stages.layers(compose(*words))
    with pytest.raises(MusicrecError, match="embedding.max_seconds=-1 is invalid"):
        stages.layers(compose(*words, "embedding.max_seconds=-1"))
    assert store.read_info(Workspace(tmp_path / "workspace").embedding_info("mert_layers")) is None
