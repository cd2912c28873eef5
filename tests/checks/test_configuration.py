"""What is refused before anything is computed: every message names the key, the value and what is allowed."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from musicrec.checks.configuration import check_settings
from musicrec.config import config_dir
from musicrec.errors import MusicrecError

ALL = ("data", "embedding", "extract", "recommender")
CASES = [
    ("recommender.lr=abc", "must be a finite number above 0"),
    ("recommender.lr=inf", "must be a finite number above 0"),
    ("recommender.batch_size=1.5", "must be a whole number from 1"),
    ("recommender.batch_size=true", "must be a whole number from 1"),
    ("recommender.patience=-1", "must be"),
    ("seed=-1", "must be a whole number from 0 to 4,294,967,295"),
    ("seed=null", "must be a whole number from 0 to 4,294,967,295"),
    ("seed=1e20", "must be a whole number from 0 to 4,294,967,295"),
    ("overwrite=no", "must be true or false"),
    ("overwrite='false'", "must be true or false"),
    ("wait=1", "must be true or false"),
    ("run_name=../../x", "must be a file name"),
    ("run_name=.x", "must be a file name"),
    (f"run_name={'a' * 300}", "must be a file name of at most 180 bytes"),
    ("paths.root=/etc/passwd", "must be a folder, or a path where one can be made"),
    ("monitor=val/loss@3", "must be val/loss, train/loss, or val/"),
    ("monitor=null", "must be"),
    ("monitor_mode={a:1}", "must be min, max or null"),
    ("run_name={a:1}", "must be a file name"),
    ("eval.k=abc", "must be"),
    ("eval.k=1.5", "must be"),
    ("eval.k={}", "must be"),
    ("eval.top_k=0", "must be a whole number from 1 to 1,000,000"),
    ("eval.bootstrap=nan", "must be a whole number from 0 to 1,000,000"),
    ("eval.margin=1", "must be a finite number above 0 and below 1"),
    ("eval=null", "must be a group of settings"),
    ("+eval.foo=1", "eval.foo is unknown; the group has k, top_k"),
    ("+mine=nan", "must be made of finite numbers"),
    ("embedding.max_seconds=abc", "must be"),
    ("embedding.name=a/b", "must be a file name"),
    (f"embedding.name='{'ü' * 200}'", "must be a file name"),
    ("extract.device=null", "must be"),
    ("extract.batch_size=abc", "must be"),
    ("extract.num_workers=-1", "must be"),
    ("data._target_=os.system", "must be a class derived from musicrec.data.source.DataSource"),
    ("embedding._target_=builtins.eval", "must be a class derived from musicrec.embeddings.base.Embedding"),
    ("data.listeners=abc", "must be a whole number"),
    ("+data._args_=[1]", "data._args_ has no meaning here: remove it"),
    ("trainer.max_epochs=-5", "must be a whole number from 1"),
    ("trainer.precision=foo", "must be"),
    ("trainer.devices=0", "must be"),
    ("trainer.devices=a", "must be"),
    ("trainer.accelerator=foo", "must be"),
    ("trainer.accelerator=gpu", "is not possible: torch"),
    ("+trainer.foo=1", "trainer.foo is unknown"),
    ("optimizer.lr=-1", "optimizer.lr=-1"),
    ("scheduler.factor=2", "scheduler.factor=2"),
    ("callbacks.early_stopping._target_=os.system", "must be a class derived from"),
    ("callbacks.last_checkpoint.seconds=abc", "must be"),
    ("logger.wandb.mode=sometimes", "must be auto, online, offline or disabled"),
    ("logger.wandb.project={a:1}", "must be text"),
]


@pytest.mark.parametrize(("word", "message"), CASES)
def test_a_value_that_cannot_be_is_refused(tmp_path: Path, word: str, message: str) -> None:
    words = [f"paths.root={tmp_path}/workspace", "data=demo", "embedding=mfcc", "recommender=shallow", "trainer=cpu"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("config", [*words, word])
    with pytest.raises(MusicrecError) as refused:
        check_settings(cfg, *ALL)
    told = str(refused.value)
    assert message in told
    assert word.partition("=")[0].lstrip("+").rpartition(".")[2] in told
    assert told.isprintable()
    assert len(told) < 1000
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize("recommender", sorted(path.stem for path in (config_dir() / "recommender").glob("*.yaml")))
def test_every_recommender_passes_as_it_is(tmp_path: Path, recommender: str) -> None:
    words = [f"paths.root={tmp_path}/workspace", f"recommender={recommender}", "trainer=cpu"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("config", words)
    before = cfg.copy()
    check_settings(cfg, *ALL)
    assert cfg == before
