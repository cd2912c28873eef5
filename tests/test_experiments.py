"""experiment=paper and paper_text change what DESIGN says, in the recommender and embedding that are chosen."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

Compose = Callable[..., DictConfig]


@pytest.mark.parametrize(("experiment", "items"), [("paper", False), ("paper_text", True)])
def test_shallow_has_the_inverted_flags_of_the_code_or_those_of_the_article(
    compose: Compose, experiment: str, items: bool
) -> None:
    settings = compose(f"experiment={experiment}", "recommender=shallow", "embedding=mert").recommender
    assert settings.item_freeze is items
    assert settings.user_freeze is not items
    assert (settings.hidden_dim, settings.neg_samples, settings.exclude_positives) == ("same", 20, False)
    assert settings.user_init is True


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


def test_random_vectors_have_no_mean_to_start_users_at(compose: Compose) -> None:
    assert compose("experiment=paper", "recommender=shallow", "embedding=random").recommender.user_init is False


def test_the_command_line_has_the_last_word(compose: Compose) -> None:
    cfg = compose("experiment=paper", "recommender=bert", "recommender.max_seq_len=100", "recommender.predict_len=null")
    assert (cfg.recommender.max_seq_len, cfg.recommender.predict_len) == (100, None)


def test_without_the_experiment_nothing_is_special(compose: Compose) -> None:
    assert compose("recommender=shallow").recommender.hidden_dim == 128
    assert compose("experiment=smoke", "recommender=shallow").recommender.hidden_dim == 128


def test_a_sweep_goes_over_every_pair(compose: Compose) -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from musicrec.config import config_dir

    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = hydra_compose("config", ["experiment=paper"], return_hydra_config=True)
    params = cfg.hydra.sweeper.params
    assert params.recommender == "knn,shallow,bert"
    assert len(params.embedding.split(",")) == 8
