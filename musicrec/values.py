"""Values: whether a value fits an annotation, which kinds of values settings have, and how messages describe them."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen, Predicate

from musicrec.errors import demand

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class Told:
    """How messages describe a kind of value, instead of its type and range."""

    allowed: str


def is_file_name(text: str) -> bool:
    """Returns whether a text can name a file, to which others are added.

    >>> [is_file_name(text) for text in ("a b", "..", "a/b", "")]
    [True, False, False, False]
    """
    plain = text.isprintable() and not set(text) & set("/\\") and text[:1] not in ("", ".", "-", " ")
    return plain and text == text.strip() and len(os.fsencode(text)) <= _LONGEST_NAME


def is_memory(text: str) -> bool:
    """Returns whether a text is an amount of memory as DuckDB takes it.

    >>> [is_memory(text) for text in ("4GB", "1.5 TiB", "4", "-4GB", "0MB")]
    [True, True, False, False, False]
    """
    found = _MEMORY.fullmatch(text)
    return found is not None and float(found[1]) > 0


def memory_bytes(text: str) -> int:
    """Returns the bytes of an amount of memory that `is_memory` accepts.

    >>> [memory_bytes(text) for text in ("4GB", "1.5 KiB")]
    [4000000000, 1536]
    """
    found = _MEMORY.fullmatch(text)
    assert found is not None
    return int(float(found[1]) * (1024 if found[3] else 1000) ** (1 + "kmgt".index(found[2].lower())))


_MEMORY = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) *([kmgt])(i?)b", re.IGNORECASE)
_LONGEST_NAME = 180  # bytes; files add e.g. `_cold_test.pqt`, and file systems allow 255
_MOST = 1_000_000_000

# 0, 1, 2, …
Whole = Annotated[int, Ge(0), Le(_MOST)]
# 1, 2, 3, …
Count = Annotated[int, Ge(1), Le(_MOST)]
# Size of a vector or layer.
Size = Annotated[int, Ge(1), Le(1_000_000)]
# What numpy and Lightning take as the seed of their generators.
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
# A length of audio, up to a day.
Seconds = Annotated[float, Gt(0), Le(86_400)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Dropout = Annotated[float, Ge(0), Lt(1)]
# Share of an exponential moving average that a step keeps.
Decay = Annotated[float, Ge(0), Lt(1)]
FileName = Annotated[
    str,
    Predicate(is_file_name),
    Told(f"a file name of at most {_LONGEST_NAME} bytes that has no slash and begins with no dot, dash or blank"),
]
Text = Annotated[str, MinLen(1)]
Memory = Annotated[str, Predicate(is_memory), Told("an amount of memory such as 4GB or 500MB")]


def checked(key: str, value: Any, kind: Any) -> Any:
    """Returns a value that fits an annotation; a whole number where only text is asked for becomes text.

    >>> checked("recommender.batch_size", 64, Count)
    64
    >>> checked("recommender.batch_size", 1.5, Count)
    Traceback (most recent call last):
    musicrec.errors.MusicrecError: recommender.batch_size=1.5 is invalid; must be a whole number from 1 to 1,000,000,000

    Args:
        key: as typed on the command line.
        value: of the configuration: null, true, a number, text, a list or a mapping.
        kind: the annotation. Numbers must be finite; true is no number, 1.0 no whole number and 1 not true.

    Raises:
        MusicrecError: names key, value and what is allowed.
    """
    if fits(value, kind):
        return value
    if not _takes_numbers(kind) and fits(text := _as_text(value), kind):
        return text
    demand(key, value, False, describe(kind))
    raise AssertionError("unreachable")


def check_fields(value: Any, group: str) -> None:
    """Refuses fields of a dataclass that do not fit their annotations, by the keys of a configuration group.

    Raises:
        MusicrecError: names key, value and what is allowed.
    """
    kinds = get_type_hints(type(value), include_extras=True)
    for field in fields(value):
        checked(f"{group}.{field.name}", getattr(value, field.name), kinds[field.name])


def fits(value: Any, kind: Any) -> bool:
    """Returns whether a value of a configuration fits an annotation.

    >>> [fits(value, int | None) for value in (3, None, 3.0, True, "3")]
    [True, True, False, False, False]
    >>> fits([1, 2.5], tuple[float, float]), fits(float("nan"), float), fits("a", Literal["a", "b"])
    (True, False, True)
    """
    if not _finite(value, long=kind is Any):
        return False
    adapter = _adapter(kind)
    if adapter is None:
        return True
    try:
        # JSON has the types of YAML: a list fits a tuple, text a path.
        adapter.validate_json(json.dumps(value, default=str), strict=True)
    except ValueError:  # pydantic's ValidationError is one
        return False
    return True


def _finite(value: Any, long: bool = False) -> bool:
    """Returns whether a value holds no NaN, infinity or, unless `long`, whole number beyond 64 bits."""
    if isinstance(value, Mapping):
        return all(_finite(item, long) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_finite(item, long) for item in value)
    if isinstance(value, int):
        return long or abs(value) < 2**63
    return not isinstance(value, float) or math.isfinite(value)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any] | None:
    """Returns what validates an annotation; None if it cannot be told from a value of a configuration."""
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415  (0.1 s, which --help and --cfg need not wait for)
    from pydantic.errors import PydanticUserError  # noqa: PLC0415

    if inspect.isclass(kind) and not issubclass(kind, (bool, int, float, str, Path, list, tuple, dict, set)):
        return None
    try:
        return TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except (PydanticUserError, TypeError, NameError):
        return None


def describe(kind: Any) -> str:
    """Returns what an annotation allows, to follow "must be".

    >>> describe(Annotated[int, Ge(1)] | Literal["same"])
    'a whole number from 1 or same'
    >>> describe(Literal["a", "b", True] | None), describe(list[str]), describe(str | Path)
    ('a, b, true or null', 'a list of text', 'text')
    """
    words = _alternatives(kind)
    return _either([word for word in words if not word.startswith("an object")] or words)


def _as_text(value: Any) -> Any:
    """Returns whole numbers, also those of a list, as text."""
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    return str(value) if type(value) is int else value


def _takes_numbers(kind: Any) -> bool:
    return any("number" in word for word in _alternatives(kind))


def _either(words: Iterable[str]) -> str:
    """Returns words as alternatives, each once."""
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} or {last}" if most else last


def _alternatives(kind: Any) -> list[str]:
    """Returns each of the kinds of value that an annotation allows."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return ["without infinite numbers"]
    if origin is Annotated:
        told = [mark.allowed for mark in arguments[1:] if isinstance(mark, Told)]
        return told or [_ranged(kind, arguments[1:])]
    if origin in (Union, types.UnionType):
        return [word for one in arguments for word in _alternatives(one)]
    if origin is Literal:
        return [json.dumps(one) if not isinstance(one, str) else one for one in arguments]
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return ["a mapping {name:value}"]
    if inspect.isclass(origin) and issubclass(origin, Iterable):
        of = [one for one in arguments if one is not Ellipsis]
        return [f"a list of {_either(word for one in of for word in _plural(one))}" if of else "a list"]
    words = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text", Path: "text"}
    words |= {type(None): "null", list: "a list", tuple: "a list", dict: "a mapping {name:value}"}
    if kind in words:
        return [words[kind]]
    return [f"an object ({kind.__name__})" if inspect.isclass(kind) else "an object"]


def _plural(kind: Any) -> list[str]:
    words = {"a whole number": "whole numbers", "a finite number": "finite numbers"}
    return [next((word.replace(one, many) for one, many in words.items() if one in word), word)
            for word in _alternatives(kind)]  # fmt: skip


def _ranged(kind: Any, marks: tuple[Any, ...]) -> str:
    """Returns the words for a number or text with bounds."""
    word = _either(_alternatives(get_args(kind)[0]))
    names = {Ge: "ge", Gt: "gt", Le: "le", Lt: "lt"}
    bounds: dict[type, Any] = {type(mark): getattr(mark, names[type(mark)]) for mark in marks if type(mark) in names}
    if any(isinstance(mark, MinLen) and mark.min_length == 1 for mark in marks):
        word += " that is not empty"
    parts = []
    if Ge in bounds:
        parts.append(f"from {bounds[Ge]:,}")
    if Gt in bounds:
        parts.append(f"above {bounds[Gt]:,}")
    if Le in bounds:
        parts.append(f"to {bounds[Le]:,}" if Ge in bounds else f"and at most {bounds[Le]:,}" if parts else
                     f"of at most {bounds[Le]:,}")  # fmt: skip
    if Lt in bounds:
        parts.append(f"and below {bounds[Lt]:,}" if parts else f"below {bounds[Lt]:,}")
    return " ".join([word, *parts])
