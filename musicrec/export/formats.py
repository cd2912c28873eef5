"""Formats: what RecBole, MMRec and Cornac read, from a Dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from musicrec.columns import COUNT, TIMESTAMP, TRACK, USER
from musicrec.export.dataset import ITEM_NUMBER, PHASES, USER_NUMBER, Dataset
from musicrec.export.tables import write_numbers
from musicrec.files import atomic_path, write_text

# Names of the phases in the files of RecBole.
RECBOLE_PHASES = {"train": "train", "val": "valid", "test": "test"}


@dataclass(frozen=True)
class Format:
    """A framework's format.

    Attributes:
        write: writes a dataset into a folder and returns the paths of the files.
        script: the module of `musicrec.export.scripts` that is copied beside them.
        usage: how to run the framework; `{folder}` is that of the export.
    """

    write: Callable[[Path, Dataset], list[Path]]
    script: str
    usage: str


def write_recbole(folder: Path, dataset: Dataset) -> list[Path]:
    """Writes atomic files (recbole.io/docs/user_guide/data/atomic_files.html) of RecBole 1.2, and its configuration.

    `{name}/{name}.{train,valid,test}.inter` have the types in the header, as `benchmark_filename` reads them, and
    `{name}/{name}.itememb` the vectors, as `additional_feat_suffix` does. Items without a vector are not in it.
    """
    base = folder / dataset.name
    paths = [base / f"{dataset.name}.{name}.inter" for name in RECBOLE_PHASES.values()]
    columns = [USER_NUMBER, ITEM_NUMBER, COUNT, TIMESTAMP]
    for path, frame in zip(paths, dataset.phases.values(), strict=True):
        write_numbers(path, frame[columns], ["user_id:token", "item_id:token", "count:float", "timestamp:float"], "\t")
    settings: dict[str, Any] = {
        "dataset": dataset.name,
        "benchmark_filename": list(RECBOLE_PHASES.values()),
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"mode": "full", "order": "TO", "group_by": "user"},
        "metrics": ["Hit", "MRR", "Precision", "Recall", "NDCG"],
        "topk": [50],
        "valid_metric": "NDCG@50",
    }
    if dataset.vectors is not None:
        vectors = base / f"{dataset.name}.itememb"
        with atomic_path(vectors) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write("iid:token\titem_emb:float_seq\n")
            for item in np.flatnonzero(dataset.known):
                file.write(f"{item}\t{' '.join(map(str, dataset.vectors[item].tolist()))}\n")
        paths.append(vectors)
        settings["load_col"]["itememb"] = ["iid", "item_emb"]
        settings |= {"additional_feat_suffix": ["itememb"], "alias_of_item_id": ["iid"]}
        settings["preload_weight"] = {"iid": "item_emb"}
    return [*paths, _write_yaml(folder / "recbole.yaml", settings)]


def write_mmrec(folder: Path, dataset: Dataset) -> list[Path]:
    """Writes a data set of MMRec (github.com/enoche/MMRec) and its configuration.

    `{name}/{name}.inter` has all splits, told apart by `x_label` (0, 1, 2). The audio vectors are `image_feat.npy`: of
    the two kinds of vectors that MMRec's models know, images and texts, they take the place of the first.
    """
    base = folder / dataset.name
    frames = [dataset.phases[phase].assign(x_label=label) for label, phase in enumerate(PHASES)]
    table = pd.concat(frames, ignore_index=True).assign(rating=1)
    header = ["userID", "itemID", "rating", "timestamp", "x_label"]
    inter = base / f"{dataset.name}.inter"
    write_numbers(inter, table[[USER_NUMBER, ITEM_NUMBER, "rating", TIMESTAMP, "x_label"]], header, "\t")
    users, items = dataset.mapping()
    mappings = {"u_id_mapping.csv": users[[USER, USER_NUMBER]], "i_id_mapping.csv": items[[TRACK, ITEM_NUMBER]]}
    named = {USER_NUMBER: "userID", ITEM_NUMBER: "itemID"}
    for name, frame in mappings.items():
        text = frame.rename(columns=named).to_csv(sep="\t", index=False, lineterminator="\n")
        write_text(base / name, text)
    paths = [inter, *(base / name for name in mappings)]
    if dataset.vectors is not None:
        paths.append(_write_array(base / "image_feat.npy", dataset.filled))
    settings = {
        "USER_ID_FIELD": "userID",
        "ITEM_ID_FIELD": "itemID",
        "TIME_FIELD": "timestamp",
        "filter_out_cod_start_users": True,
        "inter_file_name": f"{dataset.name}.inter",
        "vision_feature_file": "image_feat.npy",
        "text_feature_file": "text_feat.npy",
        "user_graph_dict_file": "user_graph_dict.npy",
        "field_separator": "\t",
    }
    return [*paths, _write_yaml(folder / f"{dataset.name}.yaml", settings)]


def write_cornac(folder: Path, dataset: Dataset) -> list[Path]:
    """Writes what `Reader.read(fmt="UIRT")` and `ImageModality` of Cornac 2 (cornac.preferred.ai) take.

    `{train,val,test}.csv` have user, item, rating 1 and time; row i of `features.npy` is the vector of item `i`.
    """
    paths = []
    for phase in PHASES:
        frame = dataset.phases[phase].assign(rating=1)[[USER_NUMBER, ITEM_NUMBER, "rating", TIMESTAMP]]
        paths.append(folder / f"{phase}.csv")
        write_numbers(paths[-1], frame, ["user", "item", "rating", "timestamp"], ",")
    if dataset.vectors is not None:
        paths.append(_write_array(folder / "features.npy", dataset.filled))
    return paths


FORMATS = {
    "recbole": Format(write_recbole, "run_recbole", "python {folder}/run_recbole.py BPR"),
    "mmrec": Format(write_mmrec, "run_mmrec", "python {folder}/run_mmrec.py MMREC_FOLDER VBPR"),
    "cornac": Format(write_cornac, "run_cornac", "python {folder}/run_cornac.py BPR"),
}


def _write_yaml(path: Path, settings: dict[str, Any]) -> Path:
    write_text(path, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    return path


def _write_array(path: Path, values: np.ndarray) -> Path:
    with atomic_path(path) as temporary:
        np.save(temporary, values, allow_pickle=False)
    return path
