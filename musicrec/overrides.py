"""Overrides as people type them: paths and names stay text, and the rest is shown in the quotes that Hydra needs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException

from musicrec.errors import MusicrecError

# Keys whose values are text whatever they look like: 007 is a user, "Live, 1991" a folder.
TEXT_KEYS = frozenset(
    (
        *("inspect.user", "run_name", "paths.root", "embedding.checkpoint", "embedding.path", "embedding.ids"),
        *(
            f"data.{key}"
            for key in (
                "audio_dir",
                "plays",
                "train",
                "val",
                "test",
                "artists",
                "users",
                "name",
                "user_column",
                "track_column",
                "timestamp_column",
                "artist_column",
                "count_column",
                "split_column",
                "columns",
            )
        ),
    )
)


# Between the entries of a list, outside quotation marks; and such an entry.
_COMMA = re.compile(r""",\s*(?=(?:[^"]*"[^"]*")*[^"]*$)""")
_QUOTED = re.compile(r"""\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*""")
_NAME = re.compile(r"[\w./-]+")  # of an experiment
_EXPERIMENT = re.compile(r"\+?experiment(@_global_)?")


def as_typed(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of a script with paths, names and user ids quoted so that Hydra keeps them as typed.

    Args:
        arguments: those after the script's name.

    Raises:
        MusicrecError: if Hydra cannot read another override; shows it in the quotes that it needs, for a shell.
    """
    if any(flag in arguments for flag in ("-h", "--help", "--hydra-help", "-sc", "--shell-completion")):
        return list(arguments)
    try:
        parsed = get_args_parser().parse_args(list(arguments))
    except SystemExit:  # Hydra says what is wrong with its flags
        return list(arguments)
    parser = OverridesParser.create()
    changed: dict[str, str] = {}
    before = ""
    for word in parsed.overrides:
        changed[word] = _word(parser, word, before, multirun=bool(parsed.multirun))
        before = word
    return [changed.get(word, word) for word in arguments]


def combined_experiments(arguments: Sequence[str], has_folder: Callable[[str], bool]) -> list[str]:
    """Returns the arguments with `experiment=[a,b]` in the words in which Hydra composes both.

    The experiment that has settings per recommender or embedding, in a folder of its name, is composed first.

    Args:
        arguments: those after the script's name.
        has_folder: whether an experiment has such a folder.

    Raises:
        MusicrecError: if several have one, or the list is not one of names.

    >>> combined_experiments(["experiment=[smoke,sequential]", "seed=1"], {"sequential"}.__contains__)
    ['experiment=sequential', '+experiment@_global_=[smoke]', 'seed=1']
    """
    words: list[str] = []
    for word in arguments:
        key, _, value = word.partition("=")
        if key != "experiment" or "[" not in value:
            words.append(word)
            continue
        names = [name.strip() for name in value[1:-1].split(",") if name.strip()]
        if value[0] != "[" or value[-1] != "]" or any(not _NAME.fullmatch(name) for name in names):
            raise MusicrecError(
                f"{word!r} cannot be read; combine experiments in one list, e.g. 'experiment=[smoke,paper]'"
            )
        first = [name for name in names if has_folder(name)]
        if len(first) > 1:
            raise MusicrecError(f"{word!r} combines {' and '.join(first)}, which both have settings per recommender")
        ordered = list(dict.fromkeys([*first, *names]))
        words += [f"experiment={ordered[0]}"] if ordered else []
        words += [f"+experiment@_global_=[{','.join(ordered[1:])}]"] if ordered[1:] else []
    return words


def given_to_each_job(
    arguments: Sequence[str], is_group: Callable[[str], bool], hydra_of: Callable[[str], Mapping[str, Any]]
) -> list[str]:
    """Returns the arguments of a sweep with single values of keys of a swept group as choices of one.

    Hydra composes a sweep once with all single values and the group's default option, which may not have the key. As a
    choice, the value is given to each job alone, and left out where the job's option lacks the key
    (`musicrec.sweeps.grid`).

    Args:
        arguments: those after the script's name.
        is_group: whether a name is that of a group.
        hydra_of: the node `hydra` of an experiment; {} if it has none.

    >>> words = ["-m", "recommender=knn,bert", "recommender.lr=0.1", "seed=3"]
    >>> given_to_each_job(words, {"recommender"}.__contains__, lambda name: {})
    ['-m', 'recommender=knn,bert', 'recommender.lr=choice(0.1)', 'seed=3']
    """
    parts = [word.partition("=") for word in arguments]
    names = [name for key, _, value in parts if _EXPERIMENT.fullmatch(key) for name in _NAME.findall(value)]
    experiments = [hydra_of(name) for name in names]
    if not {"-m", "--multirun"} & set(arguments) and all(each.get("mode") != "MULTIRUN" for each in experiments):
        return list(arguments)
    grids = [each.get("sweeper", {}).get("params", {}) for each in experiments]
    parser = OverridesParser.create()
    several = [bool(assigned) and parser.parse_override("".join((key, "=", value))).is_sweep_override()
               for key, assigned, value in parts]  # fmt: skip
    swept = {key for (key, _, _), many in zip(parts, several, strict=True) if many}
    swept = {str(key) for key in (*swept, *(key for grid in grids for key in grid))}
    swept = {key for key in swept if is_group(key)}
    words = []
    for word, (key, _, value), many in zip(arguments, parts, several, strict=True):
        group, dot, _ = key.partition(".")
        words.append(f"{key}=choice({value})" if value and dot and group in swept and not many else word)
    return words


def quoted(value: str) -> str:
    r"""Returns a value in double quotes, as Hydra's grammar wants it.

    >>> print(quoted('a "b" \\'))
    "a \"b\" \\"
    """
    escaped = re.sub(r'(\\*)"', lambda match: 2 * match[1] + r"\"", value)
    ending = len(escaped) - len(escaped.rstrip("\\"))
    return f'"{escaped}{ending * chr(92)}"'


def _word(parser: OverridesParser, word: str, before: str, *, multirun: bool) -> str:
    """Returns one override, its value quoted where that keeps it as typed."""
    key, assigned, value = word.partition("=")
    if not assigned and not word.startswith("~"):
        example = f"; a value with spaces needs quotes: {shlex.quote(f'{before} {word}')}" if "=" in before else ""
        raise MusicrecError(f"{word!r} is not KEY=VALUE{example}")
    plain_key = key.lstrip("+")
    literal = f"{key}={_literal(value)}"
    try:
        override = parser.parse_override(word)
    except HydraException:
        if _is_text_key(plain_key):
            return literal
        raise MusicrecError(
            f"{word!r} has characters that mean something in Hydra's grammar; write it as: {shlex.quote(literal)}"
        ) from None
    if _is_text_key(plain_key) and not _is_text(override, multirun):
        return literal
    if override.is_sweep_override() and not multirun:
        raise MusicrecError(
            f"{word!r} has several values: for a run of each add -m; as one value write it as: {shlex.quote(literal)}, "
            f"as a list: {shlex.quote(f'{key}=[{value}]')}"
        )
    return word


def _literal(value: str) -> str:
    """Returns a value in double quotes; of a list, each entry, unless it is the name of a file."""
    entries = _COMMA.split(value[1:-1]) if value[:1] == "[" and value[-1:] == "]" and not Path(value).exists() else []
    if len(entries) < 2 and not (entries and Path(entries[0]).exists()):
        return quoted(value)
    return f"[{','.join(entry if _QUOTED.fullmatch(entry) else quoted(entry) for entry in entries)}]"


def _is_text_key(key: str) -> bool:
    """Returns whether the values of a key are text whatever they look like."""
    return key in TEXT_KEYS or key.startswith("checkpoints.")


def _is_text(override: Override, multirun: bool) -> bool:
    """Returns whether Hydra keeps the value of a text key: as text, a list of files, nothing, or values of a sweep."""
    if override.is_sweep_override():
        return multirun
    value = override.value()
    entries = value if isinstance(value, list) else [value]
    return value is None or all(isinstance(entry, (str, QuotedString)) for entry in entries)
