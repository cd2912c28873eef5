"""A small world in exactly the schema of Yambda (yandex/yambda): events flat and sequential, vectors, mappings."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

# Last timestamp of the data set, in seconds; they come in steps of 5.
LAST = 26_000_000
DAY = 86_400

_EVENT = {"uid": pa.uint32(), "item_id": pa.uint32(), "timestamp": pa.uint32(), "is_organic": pa.uint8()}
_LISTEN = {"played_ratio_pct": pa.uint16(), "track_length_seconds": pa.uint32()}
_TYPES = _EVENT | _LISTEN | {"event_type": pa.dictionary(pa.int32(), pa.string())}


def made_listens(seed: int = 0, rows: int = 4000, users: int = 60, items: int = 150) -> pd.DataFrame:
    """Returns listens of the last five days, sorted by (uid, timestamp), with plays on the edges of the windows.

    Some users and items occur on the last day only; users repeat their favourites; ratios exceed 100 now and then.
    """
    random = np.random.default_rng(seed)
    edges = np.array([LAST - DAY, LAST - DAY - 1800, LAST - 2 * DAY - 1800, LAST - 2 * DAY - 3600, LAST])
    times = LAST - random.integers(0, DAY, rows) * 5
    on_edge = random.random(rows) < 0.2
    times[on_edge] = random.choice(edges, on_edge.sum()) - 5 * random.integers(0, 2, on_edge.sum())
    uids = random.zipf(1.4, rows) % users * 10
    item_ids = random.zipf(1.2, rows) % items * 7
    late = times >= LAST - DAY
    uids = np.where(late & (uids % 70 == 0), uids + 1000, uids)
    item_ids = np.where(late & (item_ids % 35 == 0), item_ids + 5000, item_ids)
    frame = pd.DataFrame({"uid": uids, "item_id": item_ids, "timestamp": times})
    frame["is_organic"] = random.integers(0, 2, rows)
    frame["played_ratio_pct"] = random.choice([0, 3, 49, 50, 51, 99, 100, 130], rows)
    frame["track_length_seconds"] = 100 + item_ids % 200
    return frame.sort_values(["uid", "timestamp"], kind="stable", ignore_index=True)


def made_likes(seed: int = 1, rows: int = 900) -> pd.DataFrame:
    """Returns likes, which have no ratio."""
    frame = made_listens(seed, rows)
    return frame[list(_EVENT)]


def write_events(root: Path, size: str, events: str, frame: pd.DataFrame) -> None:
    """Writes flat/{size}/{events}.parquet and the same events under sequential/, one row per user with lists."""
    flat = pa.table(
        {name: pa.array(frame[name].to_numpy(), _plain(name)).cast(_TYPES[name]) for name in map(str, frame)}
    )
    _write(root / "flat" / size / f"{events}.parquet", flat)
    groups = frame.groupby("uid", sort=True)
    columns = {"uid": pa.array(list(groups.groups), pa.uint32())}
    for name in map(str, frame.columns.drop("uid")):
        lists = [group.tolist() for _, group in groups[name]]
        columns[name] = pa.array(lists, pa.list_(_plain(name)))
    _write(root / "sequential" / size / f"{events}.parquet", pa.table(columns))


def write_multi_event(root: Path, size: str, listens: pd.DataFrame, likes: pd.DataFrame) -> None:
    """Writes multi_event.parquet of both layouts: all events with their type, ratios of listens only."""
    together = pd.concat([listens.assign(event_type="listen"), likes.assign(event_type="like")], ignore_index=True)
    together = together.sort_values(["uid", "timestamp"], kind="stable", ignore_index=True)
    columns = {}
    for name in map(str, together):
        values = together[name]
        if name in _LISTEN:
            columns[name] = pa.array([None if pd.isna(value) else int(value) for value in values], _TYPES[name])
        else:
            columns[name] = pa.array(values.tolist(), _plain(name)).cast(_TYPES[name])
    _write(root / "flat" / size / "multi_event.parquet", pa.table(columns))


def write_vectors(root: Path, item_ids: np.ndarray, seed: int = 2) -> np.ndarray:
    """Writes embeddings.parquet and returns the raw vectors, (items, 128) float64."""
    vectors = np.random.default_rng(seed).normal(size=(len(item_ids), 128))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    kind = pa.list_(pa.float64())
    table = pa.table(
        {
            "item_id": pa.array(item_ids, pa.uint32()),
            "embed": pa.array(vectors.tolist(), kind),
            "normalized_embed": pa.array(units.tolist(), kind),
        }
    )
    _write(root / "embeddings.parquet", table)
    return vectors


def write_mapping(root: Path, kind: str, pairs: list[tuple[int, int]]) -> Path:
    """Writes artist_item_mapping.parquet or album_item_mapping.parquet and returns its path."""
    path = root / f"{kind}_item_mapping.parquet"
    ids, items = (pa.array([pair[side] for pair in pairs], pa.uint32()) for side in (0, 1))
    _write(path, pa.table({f"{kind}_id": ids, "item_id": items}))
    return path


def _plain(name: str) -> pa.DataType:
    return pa.string() if name == "event_type" else _TYPES[name]


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
