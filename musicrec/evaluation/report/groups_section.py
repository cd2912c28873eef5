"""The part of the report that says for whom a recommender works: NDCG in every group, one grid per table."""

from __future__ import annotations

import pandas as pd

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.sections import Grid, GridCell
from musicrec.evaluation.report.tables import CHANCE
from musicrec.evaluation.statistics.significance import worse_than_best

NOTE = (
    "Mean NDCG ± half-width of its 95 % interval. Activity, mainstream: thirds of the test users by the number of "
    "tracks they played in training and by how popular these are. Popularity: only held-out tracks of the bin count; "
    "the head are the most popular tracks with 20 % of the plays, the tail the least popular ones with 20 %. Bold: "
    "best of the group; ‡ significantly worse than it (paired t tests, Holm-corrected over all groups of a kind; "
    "groups of fewer than ten users are not tested)."
)


def group_grid(comparison: Comparison, table: str, split: str) -> Grid:
    """Returns a column per group and a row per embedding, the bar last; below them chance and the number of users."""
    rows, tests = comparison.in_groups(table, split)
    if rows.empty:
        return Grid([], [])
    ndcg = comparison.ndcg(split)
    titles = comparison.row_titles(table, split)
    columns = list(rows[["by", "group"]].drop_duplicates().itertuples(index=False, name=None))
    cells: dict[str, list[GridCell]] = {}
    chance, users = [GridCell(CHANCE)], [GridCell("users")]
    for by, group in columns:
        own = rows[(rows["by"] == by) & (rows["group"] == group)]
        means = own.set_index("row")[ndcg]
        worse = worse_than_best(means, tests[(tests["by"] == by) & (tests["group"] == group)])
        for row in own.to_dict("records"):
            name = str(row["row"])
            conf = "" if pd.isna(row[f"{ndcg} conf"]) else f"± {row[f'{ndcg} conf']:.4f}"
            cell = GridCell(f"{row[ndcg]:.4f}", conf, best=row[ndcg] == means.max(), worse=name in worse)
            title = titles.get(name) or f"{comparison.title(str(row['run']))} (no audio)"
            cells.setdefault(name, [GridCell(title, name=True)]).append(cell)
        chance.append(GridCell(f"{own['chance'].iloc[0]:.4f}"))
        users.append(GridCell(f"{own['users'].iloc[0]:,}"))
    foot = [chance, users]
    header = [f"{by}: {group}" for by, group in columns]
    return Grid(["embedding", *header], list(cells.values()), foot)
