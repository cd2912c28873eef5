"""Experiments: paper and paper_text change the chosen recommender and embedding; sequential needs a file alone."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from musicrec import stages
from musicrec.config import config_dir
from musicrec.training.run_name import run_name

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize(("experiment", "items"), [("paper", False), ("paper_text", True)])
def test_shallow_has_the_inverted_flags_of_the_code_or_those_of_the_article(
    compose: Compose, experiment: str, items: bool
) -> None:
    settings = compose(f"experiment={experiment}", "recommender=shallow", "embedding=mert").recommender
    assert settings.item_freeze is items
    assert settings.user_freeze is not items
    assert (settings.hidden_dim, settings.neg_samples, settings.exclude_positives) == ("same", 20, False)


@pytest.mark.parametrize(("experiment", "items"), [("paper", False), ("paper_text", True)])
def test_bert_is_trained_on_300_and_asked_with_50(compose: Compose, experiment: str, items: bool) -> None:
    settings = compose(f"experiment={experiment}", "recommender=bert", "embedding=mert").recommender
    assert settings.item_freeze is items
    assert (settings.max_seq_len, settings.predict_len) == (300, 50)
    assert (settings.hidden_size, settings.intermediate_size, settings.head) == ("same", 256, "tied")


@pytest.mark.parametrize("experiment", ["paper", "paper_text"])
def test_embeddings_repeat_the_slips(compose: Compose, experiment: str) -> None:
    chosen = {
        name: compose(f"experiment={experiment}", f"embedding={name}").embedding
        for name in ("music2vec", "random", "musicnn", "musicfm", "mert")
    }
    assert chosen["music2vec"].sample_rate == 24000
    assert (chosen["random"].dim, chosen["random"].trainable) == (128, True)
    assert chosen["musicnn"].patches == "first"
    assert chosen["mert"] == compose("embedding=mert").embedding
    assert chosen["musicfm"] == compose("embedding=musicfm").embedding


@pytest.mark.parametrize("experiment", ["paper", "paper_text"])
@pytest.mark.parametrize(
    ("group", "general", "special"),
    [
        ("embedding", "musicnn", "musicnn_first"),
        ("embedding", "music2vec", "music2vec_24khz"),
        ("embedding", "random", "random_learnt"),
        ("recommender", "bert", "bert_{experiment}"),
        ("recommender", "shallow", "shallow_{experiment}"),
    ],
)
def test_the_experiment_turns_the_general_option_into_the_ordinary_one_of_the_study(
    compose: Compose, experiment: str, group: str, general: str, special: str
) -> None:
    special = special.format(experiment=experiment)
    expected = compose(f"{group}={special}")[group]
    assert compose(f"experiment={experiment}", f"{group}={general}")[group] == expected
    assert compose(f"experiment={experiment}", f"{group}={special}")[group] == expected
    assert compose(f"{group}={general}")[group] != expected


def test_rows_of_tables_keep_their_names(compose: Compose) -> None:
    names = [compose(f"embedding={name}").embedding.name for name in ("musicnn_first", "music2vec_24khz")]
    assert names == ["musicnn_first", "music2vec_24khz"]
    assert compose("embedding=random_learnt").embedding.name == "random"


def test_the_command_line_has_the_last_word(compose: Compose) -> None:
    cfg = compose("experiment=paper", "recommender=bert", "recommender.max_seq_len=100", "recommender.predict_len=null")
    assert (cfg.recommender.max_seq_len, cfg.recommender.predict_len) == (100, None)


def test_without_the_experiment_nothing_is_special(compose: Compose) -> None:
    assert compose("recommender=shallow").recommender.hidden_dim == 128
    assert compose("experiment=smoke", "recommender=shallow").recommender.hidden_dim == 128


@pytest.mark.parametrize("experiment", ["paper", "paper_text"])
def test_a_sweep_goes_over_every_pair(experiment: str) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = hydra_compose("config", [f"experiment={experiment}"], return_hydra_config=True)
    params = cfg.hydra.sweeper.params
    assert params.recommender == f"knn,shallow_{experiment},bert_{experiment}"
    embeddings = params.embedding.split(",")
    assert len(embeddings) == 8
    assert all((config_dir() / "embedding" / f"{name}.yaml").is_file() for name in embeddings)


@pytest.mark.parametrize("experiment", ["paper", "paper_text"])
def test_the_study_keeps_its_initial_weights_and_windows(compose: Compose, experiment: str) -> None:
    settings = compose(f"experiment={experiment}", "recommender=bert", "embedding=mert").recommender
    assert (settings.init, settings.window, settings.norm, settings.dropout) == ("bert", "last", "post", 0.1)


@pytest.mark.parametrize(("recommender", "dropout"), [("bert", 0.2), ("sasrec", 0.5)])
def test_sequential_needs_a_file_and_a_recommender(
    compose: Compose, tmp_path: Path, recommender: str, dropout: float
) -> None:
    plays = tmp_path / "toy.txt"
    plays.write_text(
        "".join(f"{user} " + " ".join(str((user + step) % 9) for step in range(7)) + "\n" for user in range(9))
    )
    cfg = compose(
        *("data=sequences", f"data.plays={plays}", "experiment=sequential", f"recommender={recommender}"),
        *("trainer.max_epochs=2", "trainer.accelerator=cpu", "logger=none"),
    )
    chosen = cfg.recommender
    assert (chosen.max_seq_len, chosen.hidden_size, chosen.head, chosen.dropout) == (50, 64, "tied", dropout)
    assert (chosen.init, chosen.norm, chosen.window, cfg.monitor) == ("xavier", "pre", "random", "val/ndcg@10")
    assert not cfg.scheduler and chosen.ema_decay == 0.98
    assert stages.train(cfg) is not None
    name = run_name(cfg)
    assert name.startswith(f"{recommender}_max_seq_len-50")
    predictions = pd.read_parquet(tmp_path / "workspace" / "preds" / f"{name}.pqt")
    assert set(predictions["split"]) == {"val", "test"}


@pytest.mark.parametrize("experiment", ["paper_2026", "paper_2026_corrected"])
def test_2026_sweeps_every_pair_with_its_control_and_three_seeds(compose: Compose, experiment: str) -> None:
    params = OmegaConf.load(config_dir() / "experiment" / f"{experiment}.yaml").hydra.sweeper.params
    recommenders, embeddings = params.recommender.split(","), params.embedding.split(",")
    assert len(embeddings) == 10 and params.seed == "0,1,2" and params["embedding.shuffle"].startswith("false,")
    families = {"popularity", "elsa", "knn", "shallow", "bert", "hybrid", "bimodal"}
    assert {recommender.split("_")[0] for recommender in recommenders} == families
    for recommender in recommenders:
        cfg = compose(f"experiment={experiment}", f"recommender={recommender}", f"embedding={embeddings[1]}")
        assert cfg.data.split == "hot_cold" and cfg.eval.k.hot_test == 50


def test_2026_has_the_slips_and_their_corrections(compose: Compose) -> None:
    """S1, S3, S4, S5, S6, S7, S9, S11 by their switches."""
    slips = {
        name: compose("experiment=paper_2026", f"recommender={name}_paper_2026").recommender
        for name in ("shallow", "bert", "hybrid", "bimodal", "elsa")
    }
    shallow, bert, hybrid, bimodal = (slips[name] for name in ("shallow", "bert", "hybrid", "bimodal"))
    assert (shallow.item_freeze, shallow.user_freeze, shallow.exclude_positives) == (False, True, False)
    assert shallow.cold_in_training and bert.cold_in_training and not bert.item_freeze and bert.predict_len == 300
    assert (hybrid.validate, hybrid.cold_columns, hybrid.lr, hybrid.monitor) == ("held_out", True, 0.01, "val/loss")
    assert (bimodal.symmetric, bimodal.normalise_outputs, bimodal.loss) == (False, False, "adcl")
    assert (slips["elsa"].lr, slips["elsa"].shuffle) == (0.1, False)
    assert compose("experiment=paper_2026").eval.k.cold_test == 50
    corrected = compose("experiment=paper_2026_corrected", "recommender=bert_corrected_2026")
    assert corrected.eval.k.cold_test == 20 and corrected.recommender.item_freeze
    assert (corrected.recommender.head, corrected.recommender.cold_in_training) == ("tied", False)
