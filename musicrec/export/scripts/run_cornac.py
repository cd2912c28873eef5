"""Trains a model of Cornac on this export and writes its lists into preds/, where evaluate.py compares them.

Usage: python run_cornac.py MODEL [KEY=VALUE ...]     e.g. python run_cornac.py VBPR n_epochs=20 k=16
Needs: pip install cornac pyarrow
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
TOP_K = 100  # length of the lists


def main(words: list[str]) -> None:
    """Trains the model that the command line names and writes its lists."""
    import cornac
    from cornac.data import ImageModality
    from cornac.eval_methods import BaseMethod

    name, *settings = words or ["BPR"]
    options = {key: _value(value) for key, _, value in (word.partition("=") for word in settings)}
    splits = {split: read(split) for split in ("train", "val", "test")}
    features = HERE / "features.npy"
    modality = {}
    if features.is_file():
        vectors = np.load(features, allow_pickle=False)
        modality["item_image"] = ImageModality(features=vectors, ids=[str(item) for item in range(len(vectors))])
    method = BaseMethod.from_splits(
        train_data=splits["train"],
        val_data=splits["val"] or None,
        test_data=splits["test"],
        exclude_unknowns=True,
        seed=0,
        **modality,
    )
    model = getattr(cornac.models, name)(**options)
    model.fit(method.train_set, method.val_set)
    lists = [listed(model, method, splits, split) for split in ("val", "test")]
    write(pd.concat(lists, ignore_index=True), HERE.parent.parent / "preds" / f"cornac_{name}.pqt")


def read(split: str) -> list[tuple[str, str, float]]:
    """Returns user, item and rating of the rows of a split."""
    from cornac.data import Reader

    rows: list[tuple[str, str, float]] = Reader().read(str(HERE / f"{split}.csv"), fmt="UIR", sep=",", skip_lines=1)
    return rows


def listed(model: Any, method: Any, splits: dict[str, list[tuple[str, str, float]]], split: str) -> pd.DataFrame:
    """Returns the lists of the users of a split, without what they have played: user_id, item_id, rank, score."""
    user_ids = pd.read_parquet(HERE / "users.pqt").set_index("user")["user_id"]
    item_ids = pd.read_parquet(HERE / "items.pqt").set_index("item")["item_id"].to_numpy()
    numbers = np.array([int(item) for item in method.train_set.item_ids])
    heard: dict[str, set[int]] = {}
    for earlier in ("train", "val")[: 1 if split == "val" else 2]:
        for user, item, _ in splits[earlier]:
            heard.setdefault(user, set()).add(int(item))
    blocks = []
    for user in dict.fromkeys(user for user, _, _ in splits[split]):
        if user not in method.train_set.uid_map:
            continue
        order, scores = model.rank(method.train_set.uid_map[user], item_indices=np.arange(len(numbers)))
        kept = [place for place in order if numbers[place] not in heard.get(user, set())][:TOP_K]
        frame = {"user_id": [user_ids.loc[int(user)]] * len(kept), "item_id": item_ids[numbers[kept]]}
        values = np.asarray(scores)[kept]
        blocks.append(pd.DataFrame({**frame, "rank": np.arange(1, len(kept) + 1), "score": values, "split": split}))
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame()


def write(frame: pd.DataFrame, path: Path) -> None:
    """Writes predictions beside their target and renames them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    frame.to_parquet(temporary, index=False)
    os.replace(temporary, path)  # noqa: PTH105 - in one step also where the target exists
    print(f"{path}: {len(frame)} rows; compare them with: python evaluate.py")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


if __name__ == "__main__":
    main(sys.argv[1:])
