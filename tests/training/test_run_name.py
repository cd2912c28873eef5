from collections.abc import Callable

from omegaconf import DictConfig

from musicrec.training.run_name import run_name, settings


def test_names_are_readable_and_stable(compose: Callable[..., DictConfig]) -> None:
    name = run_name(compose("recommender=bert", "embedding=musicnn", "recommender.max_seq_len=50", "seed=3"))
    assert name.startswith("bert_musicnn_max_seq_len-50_s3_")
    again = run_name(compose("recommender=bert", "embedding=musicnn", "recommender.max_seq_len=50", "seed=3"))
    assert name == again


def test_a_default_spelt_out_is_the_same_run(compose: Callable[..., DictConfig]) -> None:
    assert run_name(compose("recommender=shallow")) == run_name(
        compose("recommender=shallow", "recommender.neg_samples=20", "trainer.accelerator=cpu", "logger=none")
    )


def test_every_setting_that_changes_numbers_changes_the_name(compose: Callable[..., DictConfig]) -> None:
    changes = [
        "seed=1",
        "recommender.margin=0.3",
        "recommender.lr=0.01",
        "embedding=random",
        "embedding.max_seconds=10",
        "data.test=2020-01-01",
        "trainer.max_epochs=3",
        "trainer.precision=bf16-mixed",
        "eval.top_k=20",
        "callbacks.early_stopping.patience=3",
        "~callbacks.early_stopping",
        "+callbacks.mine._target_=pytorch_lightning.callbacks.StochasticWeightAveraging",
    ]
    names = {run_name(compose("recommender=shallow", change)) for change in changes}
    names.add(run_name(compose("recommender=shallow")))
    assert len(names) == len(changes) + 1


def test_what_only_watches_does_not_change_the_name(compose: Callable[..., DictConfig]) -> None:
    name = run_name(compose("recommender=shallow"))
    for change in ("~callbacks.progress", "~callbacks.learning_rate", "callbacks.preemption.grace=5", "logger=none"):
        assert run_name(compose("recommender=shallow", change)) == name


def test_a_given_name_is_kept_and_a_path_stays_readable(compose: Callable[..., DictConfig]) -> None:
    assert run_name(compose("run_name=mine")) == "mine"
    name = run_name(compose("embedding.checkpoint=/far/away/model.safetensors"))
    assert name.startswith("knn_musicnn_checkpoint-model.safetensors_s0_")
    assert "/" not in name


def test_what_is_done_to_vectors_is_part_of_the_name(compose: Callable[..., DictConfig]) -> None:
    plain = run_name(compose("embedding=mfcc"))
    assert plain.startswith("knn_mfcc_s0_")
    spelt_out = ("embedding.transform=none", "embedding.pca=null", "embedding.shuffle=false")
    assert run_name(compose("embedding=mfcc", *spelt_out)) == plain
    options = ("embedding.transform=zscore", "embedding.pca=16", "embedding.shuffle=true")
    assert run_name(compose("embedding=mfcc", *options)).startswith("knn_mfcc_zscore_pca16_shuffled_s0_")
    names = {run_name(compose("embedding=mfcc", option)) for option in (*options, "embedding.shuffle=all")}
    assert len(names | {plain}) == 5


def test_runs_of_earlier_versions_keep_their_names(compose: Callable[..., DictConfig]) -> None:
    assert not {"transform", "pca", "shuffle"} & settings(compose())["embedding"].keys()
