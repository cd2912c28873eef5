"""Trains a model of RecBole on this export and writes its lists into preds/, where evaluate.py compares them.

Usage: python run_recbole.py MODEL [KEY=VALUE ...]     e.g. python run_recbole.py BPR epochs=50 embedding_size=64
Needs: pip install recbole "numpy<2" "pandas<3" "scipy<1.13" "pyarrow<20" (RecBole 1.2.1 does not work with NumPy 2)
"""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

HERE = Path(__file__).resolve().parent
TOP_K = 100  # length of the lists
USERS_AT_ONCE = 512


def main(words: list[str]) -> None:
    """Trains the model that the command line names and writes its lists."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    name, *settings = words or ["BPR"]
    options = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in settings)}
    facts = json.loads((HERE / "export.json").read_text(encoding="utf-8"))
    paths = {"data_path": str(HERE), "checkpoint_dir": str(HERE / "saved")}
    files = [str(HERE / "recbole.yaml")]
    config = Config(name, facts["name"], config_file_list=files, config_dict={**paths, **options})
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    best: dict[str, Any] = {"score": -np.inf, "weights": None}

    def keep_best(epoch: int, score: float) -> None:
        score = score if config["valid_metric_bigger"] else -score
        if score > best["score"]:
            best.update(score=score, weights=copy.deepcopy(model.state_dict()))
        print(f"epoch {epoch}: {config['valid_metric']} {score:.4f}", flush=True)

    trainer.fit(train, valid, saved=False, callback_fn=keep_best)
    if best["weights"] is not None:
        model.load_state_dict(best["weights"])
    print("on test, by RecBole itself:", dict(trainer.evaluate(test, load_best_model=False)), flush=True)
    model.eval()
    with torch.no_grad():
        lists = [listed(model, data, config, split) for split, data in (("val", valid), ("test", test))]
    write(pd.concat(lists, ignore_index=True), HERE.parent.parent / "preds" / f"recbole_{name}.pqt")


def listed(model: Any, data: Any, config: Any, split: str) -> pd.DataFrame:
    """Returns the lists of the users of a split, without what they have played: user_id, item_id, rank, score."""
    from recbole.utils.case_study import full_sort_topk

    dataset, device = data.dataset, config["device"]
    users = np.unique(dataset.inter_feat[dataset.uid_field].numpy())
    k, blocks = min(TOP_K, dataset.item_num - 1), []
    user_ids = pd.read_parquet(HERE / "users.pqt").set_index("user")["user_id"]
    item_ids = pd.read_parquet(HERE / "items.pqt").set_index("item")["item_id"]
    for start in range(0, len(users), USERS_AT_ONCE):
        block = users[start : start + USERS_AT_ONCE]
        scores, items = (part.cpu().numpy() for part in full_sort_topk(block, model, data, k, device))
        rows, columns = np.nonzero(np.isfinite(scores))
        tokens = dataset.id2token(dataset.uid_field, block).astype(np.int64)[rows]
        found = dataset.id2token(dataset.iid_field, items[rows, columns]).astype(np.int64)
        frame = {"user_id": user_ids.loc[tokens].to_numpy(), "item_id": item_ids.loc[found].to_numpy()}
        blocks.append(pd.DataFrame({**frame, "rank": columns + 1, "score": scores[rows, columns], "split": split}))
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame()


def write(frame: pd.DataFrame, path: Path) -> None:
    """Writes predictions beside their target and renames them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    frame.to_parquet(temporary, index=False)
    os.replace(temporary, path)  # noqa: PTH105 - in one step also where the target exists
    print(f"{path}: {len(frame)} rows; compare them with: python evaluate.py")


if __name__ == "__main__":
    main(sys.argv[1:])
