"""Which layer of an embedding recommends best: one row per layer, recommender and test split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from musicrec.evaluation.comparison import Comparison
from musicrec.files import atomic_path
from musicrec.workspace import Workspace

COLUMNS = (
    *("embedding", "layer", "table", "recommender", "split", "run", "metric", "mean", "low", "high"),
    *("chance", "bar", "bar_mean"),
)


def layer_table(comparison: Comparison) -> pd.DataFrame:
    """Returns NDCG by layer, with COLUMNS, of the tables that `embedding.layer=each` makes; empty without two layers.

    `embedding` is the name without the layer, with what was done to the vectors (`mert zscore`); `low` and `high` are
    the ends of the 95 % interval, and `bar` is the best recommender without audio on val. Of several runs on one layer
    the one that the tables show counts.

    Args:
        comparison: what `compare` returned.
    """
    frame = pd.DataFrame(_rows(comparison), columns=list(COLUMNS))
    if frame.empty:
        return frame
    several = frame.groupby(["embedding", "table", "split"])["layer"].transform("nunique") > 1
    return frame[several].sort_values(["split", "embedding", "table", "layer"], ignore_index=True, kind="stable")


def write_layers(workspace: Workspace, comparison: Comparison) -> None:
    """Writes layers.csv, or removes that of an earlier evaluation if no layers are compared any more."""
    path, table = workspace.root / "layers.csv", layer_table(comparison)
    if table.empty:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    for split in comparison.splits:
        metric = comparison.ndcg(split)
        for table in comparison.titles:
            bar = next(iter(comparison.bar_rows(table, split).to_dict("records")), None)
            for row in comparison.shown(table, split).to_dict("records"):
                info = comparison.runs[row["run"]].info
                layer = info.settings.get("embedding", {}).get("layer")
                suffix = f"_layer{layer}"
                if type(layer) is not int or not info.embedding.endswith(suffix):
                    continue
                half = row[f"{metric} conf"]
                yield {
                    "embedding": str(row["row"]).replace(info.embedding, info.embedding.removesuffix(suffix), 1),
                    "layer": layer,
                    "table": table,
                    "recommender": comparison.titles[table],
                    "split": split,
                    "run": row["run"],
                    "metric": metric,
                    "mean": row[metric],
                    "low": row.get(f"{metric} low", row[metric] - half),
                    "high": row.get(f"{metric} high", row[metric] + half),
                    "chance": comparison.chance.get(split, {}).get(metric),
                    "bar": comparison.title(bar["run"]) if bar else None,
                    "bar_mean": bar[metric] if bar else None,
                }
