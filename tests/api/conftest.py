"""A folder of eight short tones, and a workspace with plays of them, MFCCs and a few finished runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from musicrec import stages
from musicrec.config import config_dir

RATE = 22_050
FAMILIES = ("bass", "flute", "noise", "organ")
RUNS = ("knn", "popularity", "ease", "bert", "shallow", "bimodal")


def tone(family: str, number: int) -> np.ndarray:
    """Returns one second of sound, (22050,) float32; tones of a family resemble each other."""
    time = np.arange(RATE) / RATE
    if family == "noise":
        return (0.3 * np.random.default_rng(number).normal(size=RATE)).astype(np.float32)
    pitch = {"bass": 60, "flute": 1500, "organ": 300}[family] * (1 + 0.03 * number)
    partials = {"bass": 4, "flute": 1, "organ": 9}[family]
    wave = sum(np.sin(2 * np.pi * pitch * part * time) / part for part in range(1, partials + 1))
    return np.asarray(0.3 * wave, dtype=np.float32)


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with three tones of each family, `bass/0.wav` and so on, and a file that is no audio."""
    folder = tmp_path_factory.mktemp("music")
    for family in FAMILIES:
        (folder / family).mkdir()
        for number in range(3):
            soundfile.write(folder / family / f"{number}.wav", tone(family, number), RATE)
    (folder / "broken.wav").write_bytes(b"not audio at all")
    return folder


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a file that is not in the folder: a fourth flute."""
    path = tmp_path_factory.mktemp("downloads") / "new song.flac"
    soundfile.write(path, tone("flute", 3), RATE)
    return path


@pytest.fixture(scope="session")
def composed(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DictConfig]:
    """Returns a function that composes the configuration of the commands on the folder and a log of its plays."""
    root = tmp_path_factory.mktemp("library")
    rows = ["user_id\ttrack_id\ttimestamp"]
    # User u likes two families; the third tone of the organ is played by nobody.
    for user in range(1, 13):
        for day, family in enumerate((FAMILIES[user % 4], FAMILIES[(user + 1) % 4])):
            rows += [f"{user}\t{family}/{number}\t2019-03-{1 + 3 * day + number:02} 10:00:00" for number in (0, 1)]
        rows.append(f"{user}\t{FAMILIES[(user + 2) % 3]}/2\t2020-02-21 10:00:00")
        rows.append(f"{user}\t{FAMILIES[user % 3]}/2\t2019-04-01 10:00:00")
    (root / "log.tsv").write_text("\n".join(rows) + "\n")
    common = ["data=custom", f"data.audio_dir={music}", f"data.plays={root}/log.tsv", "data.start=2019-02-20"]
    common += ["data.test=2020-02-20", f"paths.root={root}/workspace", "embedding=mfcc", "logger=none", "trainer=cpu"]
    common += ["eval.k=2", "eval.top_k=4", "extract.num_workers=0", "extract.device=cpu"]

    def compose_with(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose("config", [*common, *overrides])

    return compose_with


@pytest.fixture(scope="session")
def workspace(composed: Callable[..., DictConfig]) -> Iterator[Path]:
    """Returns the root of a workspace with a finished run of each of RUNS, named as its recommender."""
    cfg = composed()
    stages.prepare(cfg)
    stages.extract(cfg)
    more = {
        "bert": ("trainer.max_epochs=2", "recommender.hidden_size=8", "recommender.intermediate_size=8"),
        "shallow": ("trainer.max_epochs=1", "recommender.hidden_dim=4"),
        "bimodal": ("trainer.max_epochs=1", "recommender.hidden_dim=4", "recommender.elsa.factors=4"),
    }
    for name in RUNS:
        stages.train(composed(f"recommender={name}", f"run_name={name}", *more.get(name, ())))
    control = ("recommender=knn", "run_name=control", "embedding.shuffle=true", "embedding.transform=zscore")
    stages.train(composed(*control))
    fused = ("recommender=ensemble", "recommender.runs=[knn,ease]", "run_name=ensemble")
    stages.train(composed(*fused))
    yield Path(str(cfg.paths.root))
