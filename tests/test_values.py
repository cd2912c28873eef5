"""Which values fit which annotations, and what messages say is allowed."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt

from musicrec.errors import MusicrecError
from musicrec.values import Count, Dropout, FileName, Memory, Seed, Text, checked, describe, fits

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (bool, [True, False], [1, 0, "true", "no", None, 1.0]),
        (int, [0, -3, 2**62], [True, 1.0, "1", None, 2**63, -(2**80)]),
        (float, [1.5, 3, -0.0], [True, "1.5", NAN, INF, -INF, None]),
        (str, ["", "a\nb", "64"], [None, True, ["a"]]),
        (Count, [1, 10**9], [0, -1, 10**9 + 1, 1.5, True]),
        (Seed, [0, 2**32 - 1], [-1, 2**32, 0.5]),
        (Dropout, [0, 0.99], [1, 1.0, -0.01, NAN]),
        (Text, ["a"], ["", None]),
        (
            FileName,
            ["a b", "ü", "x" * 180],
            ["", ".", "..", ".x", "-x", " x", "a/b", "a\\b", "a\0", "x" * 181, "ü" * 91],
        ),
        (Memory, ["4GB", "1.5 tib", "500MB"], ["4", "-4GB", "0MB", "GB", "4GBB", "1e9GB"]),
        (int | None, [3, None], ["null", 3.0]),
        (int | Literal["auto"], [3, "auto"], ["all", True]),
        (list[int], [[], [1]], [[1.0], ["1"], [None], 1, {"a": 1}]),
        (tuple[float, float], [[1, 2.5]], [[1], [1, 2, 3], [1, NAN]]),
        (dict[str, int], [{}, {"a": 1}], [{"a": "b"}, [], {"a": {"b": 1}}]),
        (Path, ["/a/b"], [None, 3]),
        (Any, [None, [{"a": 10**400}]], [NAN, [1, INF], {"a": {"b": NAN}}]),
    ],
)
def test_fits(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [fits(value, kind) for value in good] == [True] * len(good)
    assert [fits(value, kind) for value in bad] == [False] * len(bad)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Count, "a whole number from 1 to 1,000,000,000"),
        (Annotated[float, Gt(0)], "a finite number above 0"),
        (Annotated[float, Gt(0), Le(1)], "a finite number above 0 and at most 1"),
        (Annotated[float, Ge(0), Lt(1)], "a finite number from 0 and below 1"),
        (Annotated[int, Le(3)] | Literal["same"] | None, "a whole number of at most 3, same or null"),
        (list[int] | bool, "a list of whole numbers or true or false"),
        (Text, "text that is not empty"),
        (dict[str, int], "a mapping {name:value}"),
    ],
)
def test_what_is_allowed_is_described(kind: Any, words: str) -> None:
    assert describe(kind) == words


def test_whole_numbers_become_text_only_where_no_number_may_stand() -> None:
    assert checked("data.track_column", 7, str) == "7"
    assert checked("data.columns", [1, "a"], list[str]) == ["1", "a"]
    assert checked("embedding.layer", 7, int | str) == 7
    for value in (1.5, True, None, {"a": 1}):
        with pytest.raises(MusicrecError, match=r"^data.track_column=.* is invalid; must be text$"):
            checked("data.track_column", value, str)


@pytest.mark.parametrize("text", ["a\nb", "\0", "\u202eabc", "\x1b[31m", "\udcff"])
def test_messages_are_one_printable_line(text: str) -> None:
    for error in (MusicrecError(f"the track {text} is unknown"), MusicrecError(text)):
        assert str(error).isprintable()
    with pytest.raises(MusicrecError) as refused:
        checked("seed", text, Seed)
    assert str(refused.value).isprintable()
    assert str(refused.value).endswith("; must be a whole number from 0 to 4,294,967,295")
