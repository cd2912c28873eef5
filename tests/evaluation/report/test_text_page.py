"""The tracks nearest to a text: CLAP's text side against transformers, the list, the page, what can be missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

from musicrec import stages
from musicrec.embeddings.checkpoints.load import sha256
from musicrec.embeddings.clap import CLAP
from musicrec.embeddings.mfcc import MFCC
from musicrec.embeddings.tables import store
from musicrec.embeddings.tables.embedding_info import EmbeddingInfo
from musicrec.errors import MusicrecError
from musicrec.evaluation.report.text_page import find_by_text, print_text, write_text_page
from musicrec.workspace import TrackIndex, Workspace

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "calm", "piano", "loud", "drums"]
TRACKS = TrackIndex(["near", "far", "lost", "same"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a tiny random model with a tokenizer of four words, in the files of the hub."""
    folder = tmp_path_factory.mktemp("clap")
    torch.manual_seed(3)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    audio = {"patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "spec_size": 64}
    audio |= {"hidden_size": 32, "num_mel_bins": 16, "window_size": 4, "projection_dim": 12}
    text |= {"vocab_size": len(WORDS), "max_position_embeddings": 90, "projection_dim": 12}
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12)).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    model.save_pretrained(folder)
    ClapFeatureExtractor(feature_size=16, max_length_s=2).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    return folder


def embedding(folder: Path) -> CLAP:
    return CLAP(checkpoint=str(folder))


@pytest.fixture
def workspace(tmp_path: Path, folder: Path) -> Workspace:
    """Returns a workspace with an extracted table, whose first track lies nearest to "calm piano"."""
    workspace = Workspace(tmp_path / "workspace")
    TRACKS.save(workspace.track_index)
    [wanted] = embedding(folder).embed_texts(["calm piano"])
    other = np.roll(wanted, 1)
    vectors = np.stack([0.3 * wanted + 0.01 * other, -wanted, np.full(12, np.nan), 5 * wanted]).astype(np.float32)
    made_with = embedding(folder)
    info = EmbeddingInfo(
        name="clap",
        model="CLAP",
        dim=12,
        tracks=len(TRACKS),
        tracks_hash=TRACKS.fingerprint(),
        settings=made_with.settings(),
        checkpoint_sha256=sha256(folder / "model.safetensors"),
    )
    store.write(workspace, info, vectors)
    return workspace


def test_texts_have_the_vectors_of_transformers(folder: Path) -> None:
    texts = ["calm piano", "loud drums loud drums loud"]
    found = embedding(folder).embed_texts(texts)
    model, tokenizer = ClapModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        vectors = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    expected = torch.nn.functional.normalize(vectors, dim=-1).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert embedding(folder).embed_texts(["piano " * 500]).shape == (1, 12)


def test_the_nearest_tracks_by_cosine(workspace: Workspace, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"near": Path("music/near.flac")}
    view = find_by_text(workspace, embedding(folder), "calm piano", files)
    assert [entry.track for entry in view.tracks] == ["same", "near", "far"]
    assert [entry.note for entry in view.tracks][::2] == ["1.000", "-1.000"]
    assert view.tracks[1].path == Path("music/near.flac")
    assert len(find_by_text(workspace, embedding(folder), "calm piano", k=1).tracks) == 1
    print_text(view)
    printed = capsys.readouterr().out
    assert "music/near.flac" in printed and "calm piano" in printed
    page = write_text_page(workspace, view)
    assert page.name == "text-calm-piano.html"
    text = page.read_text()
    assert text.count("<audio") == 1 and "“calm piano”" in text and "User" not in text


def test_through_the_configuration(
    workspace: Workspace, folder: Path, compose: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    common = ('inspect.text="calm piano"', f"paths.root={workspace.root}", "data=custom")
    stages.evaluate(compose(*common))  # embedding=musicnn has no text side; the weights are those on record
    assert capsys.readouterr().out.index("same") < 300
    stages.evaluate(compose(*common, "embedding=clap", f"embedding.checkpoint={folder}"))
    with pytest.raises(MusicrecError, match="inspect.text_embedding=nothing is no option of embedding"):
        stages.evaluate(compose(*common, "inspect.text_embedding=nothing"))
    with pytest.raises(MusicrecError, match="embedding=mfcc has no text side; use embedding=clap"):
        stages.evaluate(compose(*common, "inspect.text_embedding=mfcc"))


def test_what_is_missing_gives_one_line(
    workspace: Workspace, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complaint(model: CLAP, text: str = "calm piano") -> str:
        with pytest.raises(MusicrecError) as error:
            find_by_text(workspace, model, text)
        assert "\n" not in str(error.value)
        return str(error.value)

    with pytest.raises(MusicrecError, match="embedding=mfcc has no text side; use embedding=clap"):
        find_by_text(workspace, MFCC(), "calm")
    assert "inspect.text is empty" in complaint(embedding(folder), " ")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    recorded = store.read_info(workspace.embedding_info("clap"))
    assert recorded is not None
    hub = {"hub": "nobody/clap", "checkpoint": None}
    path = workspace.embedding_info("clap")
    path.write_text(json.dumps(recorded.to_json() | {"settings": {**recorded.settings, **hub}}))
    assert "cannot fetch nobody/clap" in complaint(CLAP(hub="nobody/clap"))
    path.write_text(json.dumps(recorded.to_json() | {"checkpoint_sha256": "0" * 64}))
    assert "was made with other weights than those of the text" in complaint(embedding(folder))
    path.unlink()
    workspace.embedding("clap").unlink()
    assert "clap.npy is missing: make it with: python extract.py embedding=clap" in complaint(embedding(folder))


def test_a_missing_tokenizer_is_named(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(MusicrecError, match="has no tokenizer.json, as the upstream publishes it"):
        embedding(tmp_path).embed_texts(["calm"])
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MusicrecError, match="tokenizer.json is not a tokenizer that transformers can read"):
        embedding(tmp_path).embed_texts(["calm"])
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "x.Y"}}')
    with pytest.raises(MusicrecError, match="has an auto_map"):
        embedding(tmp_path).embed_texts(["calm"])
