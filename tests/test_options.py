"""Constructors take few arguments; keys of a group become arguments or fields of the frozen values among them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import string
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import musicrec
from musicrec.data.source import DataSource
from musicrec.errors import MusicrecError
from musicrec.options import changed, construct, make, options_of

MOST_PARAMETERS = 16


@dataclass(frozen=True)
class Size:
    """A value of an argument."""

    width: int = 1
    height: int = 2


class Picture:
    """What the tests make."""

    def __init__(self, name: str, size: Size = Size(height=5), *, frame: bool = False):
        self.name, self.size, self.frame = name, size, frame


def classes() -> Iterator[type]:
    """Yields every class of the package."""
    for found in pkgutil.walk_packages(musicrec.__path__, "musicrec."):
        module = importlib.import_module(found.name)
        yield from (kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == found.name)


def too_long(kinds: Iterator[type] | list[type]) -> list[str]:
    """Returns the classes whose own constructor takes more than MOST_PARAMETERS; records are made by keyword."""
    return [
        kind.__qualname__
        for kind in kinds
        if not is_dataclass(kind)
        and "__init__" in vars(kind)
        and len(inspect.signature(vars(kind)["__init__"]).parameters) - 1 > MOST_PARAMETERS
    ]


def test_no_constructor_takes_more_than_16_parameters() -> None:
    planted = type("Long", (), {"__init__": eval(f"lambda self, {', '.join(string.ascii_lowercase[:17])}: None")})
    assert too_long([planted]) == ["Long"], "the test finds a planted one"
    assert too_long(classes()) == []


def test_keys_become_arguments_and_fields_of_the_values_among_them() -> None:
    options = options_of(Picture)
    assert {key: (option.default, option.holder) for key, option in options.items()} == {
        "name": (inspect.Parameter.empty, None),
        "width": (1, "size"),
        "height": (5, "size"),
        "frame": (False, None),
    }
    made = construct(Picture, {"name": "x", "width": 3, "frame": True}, "data")
    assert (made.name, made.size, made.frame) == ("x", Size(3, 5), True)
    assert construct(Picture, {"name": "x"}, "data").size == Size(1, 5)
    assert construct(Picture, {"frame": True}, "data", {"name": "given"}).name == "given"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "x", "size": 3},
            "data.size is unknown to tests.test_options.Picture; it takes name, width, height, frame, lr",
        ),
        ({"name": "x", "depth": 3}, "data.depth is unknown to tests.test_options.Picture; it takes name,"),
        ({"width": 3}, "data.name is missing: tests.test_options.Picture needs it"),
    ],
)
def test_unknown_and_missing_keys_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError) as refused:
        construct(Picture, settings, "data", others=("lr",))
    assert str(refused.value).startswith(message)


def test_changed_settings_come_with_the_values_that_hold_them() -> None:
    source = DataSource("x")
    found = changed(source, {"test": "2020-01-01", "format": "table", "nonsense": 3})
    assert found.keys() == {"splits", "log"}
    assert (found["splits"].test, found["log"].format) == ("2020-01-01", "table")
    assert source.splits.test == "auto"


def test_a_group_is_made_of_its_flat_keys(tmp_path: Path) -> None:
    node = OmegaConf.create(
        {"_target_": "musicrec.data.source.DataSource", "name": "x", "plays": f"{tmp_path}/log", "min_user_plays": 5}
    )
    source = make(node, "data")
    assert isinstance(source, DataSource)
    assert (source.plays, source.filters.min_user_plays, source.filters.min_track_plays) == ([tmp_path / "log"], 5, 0)
