"""BERT4Rec and SASRec beside RecTools on public leave-one-out files: HitRate@10 and NDCG@10 over all items.

Usage:
    python benchmarks/recommenders.py setup ENV                    makes the environment of RecTools 0.19 in ENV
    python benchmarks/sequential_quality.py ENV OUT FILE [FILE …]  trains both with several seeds, prints a table
    python benchmarks/sequential_quality.py ENV OUT FILE --sides table       prints it for what OUT has

FILE has a line "user item item …" per user. Ours is the command of docs/recommenders.md (`experiment=sequential`) as it
is. RecTools has the same sizes (64 dimensions, 2 layers, 2 heads, the last 50 items, batches of 128, Adam with 0.001,
dropout 0.2, masks 0.2) and is otherwise as it comes; its training data end before the val item, as ours do. Both keep
the epoch with the best NDCG@10 of val and stop after `--patience` epochs without a better one. Test histories hold the
val item; all items of training are ranked, those of the history left out; a target that nobody has in training is a
miss. Runs that OUT has are not repeated, so the command can be interrupted.

RecTools' loss is computed at the positions that have a target only (`ChosenPositions`): the same gradients in a
fraction of the time. Times are compared by benchmarks/sequential.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

ROOT = Path(__file__).parents[1]
MODELS = ("bert", "sasrec")
K = 10
# (HitRate@10, NDCG@10) as S3-Rec's authors list them (Zhou et al., CIKM 2020, arXiv 2008.07873, results.md of their
# repository): full ranking, their files.
LITERATURE = {
    ("LastFM", "bert"): (0.0633, 0.0337),
    ("LastFM", "sasrec"): (0.0688, 0.0390),
    ("Beauty", "bert"): (0.0347, 0.0170),
    ("Beauty", "sasrec"): (0.0605, 0.0318),
    ("Sports_and_Outdoors", "bert"): (0.0191, 0.0099),
    ("Sports_and_Outdoors", "sasrec"): (0.0350, 0.0192),
    ("Toys_and_Games", "bert"): (0.0203, 0.0099),
    ("Toys_and_Games", "sasrec"): (0.0675, 0.0374),
}


def histories(file: str) -> list[list[int]]:
    """Returns the items of each line in order of time."""
    return [[int(item) for item in line.split()[1:]] for line in Path(file).read_text().splitlines()]


def ours(model: str, file: str, seed: int, out: Path, extra: list[str]) -> pd.DataFrame:
    """Returns HitRate@10 and NDCG@10 of the test users, in the order of the file's lines, after train.py."""
    run, root = f"{model}_s{seed}", out / f"ours_{Path(file).stem}"
    command = [sys.executable, str(ROOT / "train.py"), "data=sequences", f"data.plays={file}", "data.name=bench"]
    command += ["experiment=sequential", f"recommender={model}", f"seed={seed}", f"run_name={run}", "trainer=cpu"]
    subprocess.run([*command, "logger=none", f"paths.root={root}", *extra], check=True)
    frame = pd.read_parquet(root / "metrics" / f"{run}_test.pqt")
    users = [line.split()[0] for line in Path(file).read_text().splitlines()]
    frame.index = pd.Index(frame["user_id"].astype(str))
    return frame.loc[users, [f"HitRate@{K}", f"NDCG@{K}"]].reset_index(drop=True)


def rectools(model: str, file: str, seed: int, epochs: int, patience: int, every: int) -> pd.DataFrame:
    """Returns the same of RecTools at its best epoch by NDCG@10 of val."""
    import pytorch_lightning as pl  # noqa: PLC0415  (its environment has another version)
    from rectools.dataset import Dataset  # noqa: PLC0415  (only this side has it)
    from rectools.models import BERT4RecModel, SASRecModel  # noqa: PLC0415  (only this side has it)
    from rectools.models.nn.item_net import IdEmbeddingsItemNet  # noqa: PLC0415  (only this side has it)
    from rectools.models.nn.transformers.lightning import (  # noqa: PLC0415  (only this side has it)
        TransformerLightningModule,
    )

    items = histories(file)
    given = {
        "val": dataset(Dataset, [row[:-2] for row in items]),
        "test": dataset(Dataset, [row[:-1] for row in items]),
    }
    targets = {"val": [row[-2] for row in items], "test": [row[-1] for row in items]}
    pl.seed_everything(seed, verbose=False)

    class ChosenPositions(TransformerLightningModule):
        """The softmax loss of the positions that have a target; the others have weight 0 in RecTools' own."""

        def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
            vectors = self.torch_model.item_model.get_all_embeddings()
            states = self.torch_model.encode_sessions(batch, vectors)
            chosen = batch["y"] != 0
            return torch.nn.functional.cross_entropy(states[chosen] @ vectors.T, batch["y"][chosen])

    class Best(pl.Callback):
        """Scores every few epochs and keeps test at the best val; stops after `patience` epochs without a better."""

        def __init__(self) -> None:
            self.value, self.epoch, self.test = -1.0, 0, pd.DataFrame()

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            epoch = trainer.current_epoch + 1
            if epoch % every:
                return
            value = float(scores(made, given["val"], targets["val"])[f"NDCG@{K}"].mean())
            if value > self.value:
                self.value, self.epoch = value, epoch
                self.test = scores(made, given["test"], targets["test"])
            print(f"epoch {epoch}: val {value:.4f}, best {self.value:.4f} ({self.epoch})", file=sys.stderr, flush=True)
            trainer.should_stop = epoch - self.epoch >= patience

    best = Best()
    sizes = {"n_blocks": 2, "n_heads": 2, "n_factors": 64, "session_max_len": 50, "batch_size": 128, "lr": 1e-3}
    options: dict[str, Any] = {
        **sizes,
        "dropout_rate": 0.2,
        "item_net_block_types": (IdEmbeddingsItemNet,),
        "lightning_module_type": ChosenPositions,
    }
    made = BERT4RecModel(mask_prob=0.2, **options) if model == "bert" else SASRecModel(**options)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[best],
    )
    # What fit() does; the callback needs the model itself, of which fit() would train a copy.
    made._build_model_from_dataset(given["val"])
    trainer.fit(made.lightning_model, made.data_preparator.get_dataloader_train())
    return best.test


def dataset(kind: Any, rows: list[list[int]]) -> Any:
    """Returns histories as RecTools reads them."""
    pairs = [(user, item, position) for user, row in enumerate(rows) for position, item in enumerate(row)]
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id", "minute"])
    frame["datetime"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame.pop("minute"), unit="min")
    return kind.construct(frame.assign(weight=1.0))


def scores(model: Any, given: Any, targets: list[int]) -> pd.DataFrame:
    """Returns HitRate@10 and NDCG@10 of each user's target after the history, all other items ranked."""
    preparator, module = model.data_preparator, model.lightning_model
    prepared = preparator.transform_dataset_u2i(given, np.arange(len(targets)))
    training = module.training
    states, vectors = module._get_user_item_embeddings(preparator.get_dataloader_recommend(prepared, 256), "cpu")
    module.train(training)
    users = prepared.user_id_map.external_ids.astype(np.int64)
    index = pd.Series(prepared.item_id_map.internal_ids, index=prepared.item_id_map.external_ids.astype(object))
    wanted = torch.from_numpy(index.reindex(np.array(targets)[users]).fillna(-1).to_numpy(np.int64))
    seen = prepared.get_user_item_matrix(include_weights=False, include_warm_items=True).tocoo()
    with torch.no_grad():
        logits = states @ vectors.T
    logits[:, : preparator.n_item_extra_tokens] = -torch.inf
    own = logits.gather(1, wanted.clamp(min=0)[:, None])
    logits[torch.from_numpy(seen.row).long(), torch.from_numpy(seen.col).long()] = -torch.inf
    rank = (logits > own).sum(dim=1)
    hit = (wanted >= 0) & (rank < K)
    gain = torch.where(hit, 1 / torch.log2(rank + 2.0), 0.0)
    result = pd.DataFrame(0.0, index=range(len(targets)), columns=[f"HitRate@{K}", f"NDCG@{K}"])
    result.loc[users] = torch.stack([hit.float(), gain], dim=1).numpy()
    return result


def table(out: Path, files: list[str], models: list[str]) -> str:
    """Returns the means over seeds of what `out` has, with the standard error over users of the mean of the seeds."""
    lines = ["| file | model | | seeds | HitRate@10 | NDCG@10 |", "|---|---|---|---|---|---|"]
    for file in files:
        for model in models:
            means: dict[str, pd.DataFrame] = {}
            for side in ("musicrec", "RecTools 0.19"):
                runs = [pd.read_csv(path) for path in sorted(out.glob(f"{Path(file).stem}_{model}_{side[:3]}_s*.csv"))]
                if runs:
                    means[side] = sum(runs[1:], runs[0]) / len(runs)
                    lines.append(f"| {Path(file).stem} | {model} | {side} | {len(runs)} | {interval(means[side])} |")
            if len(means) == 2:
                difference = means["musicrec"] - means["RecTools 0.19"]
                lines.append(f"| | | difference, paired by user | | {interval(difference)} |")
            if known := LITERATURE.get((Path(file).stem, model)):
                lines.append(f"| | | as S3-Rec's authors list it | | {known[0]:.4f} | {known[1]:.4f} |")
    return "\n".join(lines)


def interval(values: pd.DataFrame) -> str:
    """Returns "mean ± standard error | mean ± standard error"."""
    errors = values.std(ddof=1) / len(values) ** 0.5
    return " | ".join(f"{values[name].mean():.4f} ± {errors[name]:.4f}" for name in values)


def main() -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", help="folder of RecTools' environment")
    parser.add_argument("out", type=Path, help="folder of results")
    parser.add_argument("files", nargs="+", help="lines of user item item …")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sides", default="ours,rectools", help="ours, rectools, both (default), or table")
    parser.add_argument("--epochs", type=int, default=200, help="of RecTools at most")
    parser.add_argument("--patience", type=int, default=40, help="of RecTools")
    parser.add_argument("--every", type=int, default=2, help="epochs of RecTools between two looks at val")
    parser.add_argument("--extra", nargs="*", default=[], help="further options of train.py")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.worker:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        file, model, seed = options.files[0], options.models, int(options.seeds)
        rectools(model, file, seed, options.epochs, options.patience, options.every).to_csv(options.worker, index=False)
        return
    for seed in options.seeds.split(","):
        for file in options.files:
            for model in options.models.split(","):
                for side in options.sides.split(","):
                    train(side, model, file, int(seed), options)
    print(table(options.out, options.files, options.models.split(",")))


def train(side: str, model: str, file: str, seed: int, options: argparse.Namespace) -> None:
    """Writes the scores of one run into `out` unless they are there."""
    done = options.out / f"{Path(file).stem}_{model}_{'mus' if side == 'ours' else 'Rec'}_s{seed}.csv"
    if done.exists() or side == "table":
        return
    if side == "ours":
        ours(model, file, seed, options.out, options.extra).to_csv(done, index=False)
        return
    python = str(Path(options.env) / "bin" / "python")
    command = [python, __file__, options.env, str(options.out), file, "--models", model, "--seeds", str(seed)]
    command += ["--epochs", str(options.epochs), "--patience", str(options.patience), "--every", str(options.every)]
    partial = done.with_suffix(".part")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run([*command, "--worker", str(partial)], check=True, env=environment)
    partial.rename(done)


if __name__ == "__main__":
    main()
