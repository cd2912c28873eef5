"""Trains a model of MMRec on this export and writes its lists into preds/, where evaluate.py compares them.

Usage: python run_mmrec.py FOLDER MODEL [KEY=VALUE ...]     e.g. python run_mmrec.py ~/MMRec VBPR epochs=100
FOLDER is a checkout of github.com/enoche/MMRec. Needs: what it requires, and pip install pyarrow
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

HERE = Path(__file__).resolve().parent
TOP_K = 100  # length of the lists


def main(words: list[str]) -> None:
    """Trains the model that the command line names and writes its lists."""
    if len(words) < 2:
        sys.exit(__doc__)
    folder, model, *settings = words
    options = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in settings)}
    [described] = HERE.glob("*.yaml")
    own = yaml.safe_load(described.read_text(encoding="utf-8"))
    source = Path(folder).expanduser().resolve() / "src"
    sys.path.insert(0, str(source))
    os.chdir(source)  # MMRec reads its configuration from the working folder

    from utils.quick_start import quick_start
    from utils.topk_evaluator import TopKEvaluator

    kept = Kept(TopKEvaluator)
    items = len(pd.read_parquet(HERE / "items.pqt"))
    lengths = sorted({*(k for k in (5, 10, 20, 50) if k < items), min(TOP_K, items)})
    choices = {"gpu_id": 0, "data_path": f"{HERE}/", "topk": lengths, **own, **options}
    quick_start(model=model, dataset=described.stem, config_dict=choices, save_model=False)
    lists = [to_ids(*kept.best[split]).assign(split=split) for split in ("val", "test") if split in kept.best]
    write(pd.concat(lists, ignore_index=True), HERE.parent.parent / "preds" / f"mmrec_{model}.pqt")


class Kept:
    """The lists of the epoch and setting that are best on val: MMRec evaluates val, then test, after each epoch.

    Attributes:
        best: split to the numbers of its users, (users,), and of the items of their lists, (users, k).
    """

    def __init__(self, evaluator: Any):
        """Has MMRec's evaluator hand over what it evaluates.

        Args:
            evaluator: the class.
        """
        self.best: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._score, self._improved, self._valid = -np.inf, False, None
        evaluate = evaluator.evaluate

        def evaluated(own: Any, lists: list[Any], data: Any, *more: Any, **named: Any) -> Any:
            result = evaluate(own, lists, data, *more, **named)
            found = np.concatenate([part.cpu().numpy() for part in lists])
            self._take(data, found, float(result.get(str(own.config["valid_metric"]).lower(), 0.0)))
            return result

        evaluator.evaluate = evaluated

    def _take(self, data: Any, found: np.ndarray, score: float) -> None:
        """Keeps lists if they are those of the best epoch so far."""
        self._valid = data if self._valid is None else self._valid
        split = "val" if data is self._valid else "test"
        if split == "val":
            self._improved = score > self._score
            self._score = max(score, self._score)
        if self._improved:
            self.best[split] = np.asarray(data.get_eval_users()), found


def to_ids(users: np.ndarray, lists: np.ndarray) -> pd.DataFrame:
    """Returns user_id, item_id, rank of lists that are numbers of users, (users,), and of items, (users, k).

    What a user has played in train is left out: MMRec puts it last, where a list is as long as the catalogue.
    """
    [inter] = HERE.glob("*/*.inter")
    rows_of_train = pd.read_csv(inter, sep="\t").query("x_label == 0")
    heard = pd.MultiIndex.from_frame(rows_of_train[["userID", "itemID"]])
    user_ids = pd.read_parquet(HERE / "users.pqt").set_index("user")["user_id"]
    item_ids = pd.read_parquet(HERE / "items.pqt").set_index("item")["item_id"].to_numpy()
    rows, columns = np.indices(lists.shape).reshape(2, -1)
    new = ~pd.MultiIndex.from_arrays([users[rows], lists.ravel()]).isin(heard)
    named = user_ids.loc[users].to_numpy()
    frame = pd.DataFrame({"user_id": named[rows], "item_id": item_ids[lists.ravel()], "rank": columns + 1})
    return frame[new]


def write(frame: pd.DataFrame, path: Path) -> None:
    """Writes predictions beside their target and renames them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    frame.to_parquet(temporary, index=False)
    os.replace(temporary, path)  # noqa: PTH105 - in one step also where the target exists
    print(f"{path}: {len(frame)} rows; compare them with: python evaluate.py")


if __name__ == "__main__":
    main(sys.argv[1:])
