"""Puts the lists that MMRec saved (save_recommended_topk) into preds/, where evaluate.py compares them.

Usage: python mmrec_lists.py FILE.csv [NAME]     e.g. python mmrec_lists.py recommend_topk/VBPR-demo-idx0-top50-….csv
Needs: pip install pandas pyarrow
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent


def main(words: list[str]) -> None:
    """Reads a file of MMRec (id, top_0, top_1 …: numbers) and writes predictions of the test split."""
    if not words:
        sys.exit(__doc__)
    source = Path(words[0])
    name = words[1] if len(words) > 1 else source.name.partition("-")[0]
    table = pd.read_csv(source, sep="\t")
    items = table.filter(like="top_").to_numpy(np.int64)
    user_ids = pd.read_parquet(HERE / "users.pqt").set_index("user")["user_id"]
    item_ids = pd.read_parquet(HERE / "items.pqt").set_index("item")["item_id"].to_numpy()
    rows, columns = np.indices(items.shape).reshape(2, -1)
    users = user_ids.loc[table["id"].to_numpy()].to_numpy()
    frame = {"user_id": users[rows], "item_id": item_ids[items.ravel()], "rank": columns + 1, "split": "test"}
    write(pd.DataFrame(frame), HERE.parent.parent / "preds" / f"mmrec_{name}.pqt")


def write(frame: pd.DataFrame, path: Path) -> None:
    """Writes predictions beside their target and renames them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    frame.to_parquet(temporary, index=False)
    os.replace(temporary, path)  # noqa: PTH105 - in one step also where the target exists
    print(f"{path}: {len(frame)} rows; compare them with: python evaluate.py")


if __name__ == "__main__":
    main(sys.argv[1:])
