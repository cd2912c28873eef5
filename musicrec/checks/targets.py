"""Which classes a `_target_` may name, checked before any is called, and what their settings may be."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from musicrec.errors import MusicrecError, demand, first_line
from musicrec.options import check_options, options_of
from musicrec.values import checked

TARGET, PARTIAL = "_target_", "_partial_"
# What else Hydra reads of a node.
_HYDRA = {"_convert_": ("none", "partial", "object", "all"), "_recursive_": (True, False)}


def target(key: str, name: Any, bases: Sequence[type]) -> Callable[..., Any]:
    """Returns the class that a `_target_` names, or a function of musicrec that makes one.

    Nothing of the standard library is imported, and nothing is called.

    Args:
        key: of the node, e.g. `data`.
        name: dotted name.
        bases: classes from one of which it must be derived.

    Raises:
        MusicrecError: if it names anything else.
    """
    allowed = f"a class derived from {' or '.join(f'{base.__module__}.{base.__qualname__}' for base in bases)}"
    words = name.split(".") if isinstance(name, str) else []
    plain = len(words) > 1 and all(word.isidentifier() for word in words)
    outside = not plain or words[0] in sys.stdlib_module_names
    demand(f"{key}.{TARGET}", name, not outside, allowed)
    found = _imported(f"{key}.{TARGET}", name, allowed)
    if inspect.isfunction(found) and found.__module__.startswith("musicrec."):
        made = get_type_hints(found).get("return")
        kinds = [kind for kind in (made, *getattr(made, "__args__", ())) if inspect.isclass(kind)]
    else:
        kinds = [found] if inspect.isclass(found) else []
    demand(f"{key}.{TARGET}", name, any(issubclass(kind, tuple(bases)) for kind in kinds), allowed)
    assert callable(found)
    return found


def _imported(key: str, name: str, allowed: str) -> object:
    """Returns what a dotted name names."""
    words = name.split(".")
    for count in range(len(words) - 1, 0, -1):
        module = ".".join(words[:count])
        try:
            found: object = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if module == error.name or module.startswith(f"{error.name}."):
                continue
            raise MusicrecError(f"{key}={name} cannot be imported: {first_line(error)}") from None
        except Exception as error:
            raise MusicrecError(f"{key}={name} cannot be imported: {first_line(error)}") from None
        for word in words[count:]:
            found = getattr(found, word, None)
        demand(key, name, found is not None, f"{allowed}; there is none of that name")
        return found
    demand(key, name, False, f"{allowed}; there is no module {words[0]}")
    raise AssertionError("unreachable")


def check_node(
    key: str,
    node: Any,
    bases: Sequence[type],
    *,
    given: Sequence[str] = (),
    partial: bool = False,
    kinds: Mapping[str, Any] | None = None,
    nested: Sequence[type] = (),
) -> None:
    """Refuses a node that Hydra is to instantiate if it is not what its class takes.

    Args:
        key: of the node, e.g. `trainer`.
        node: `_target_` and settings, resolved.
        bases: see `target`.
        given: arguments that the program adds.
        partial: whether it must be a `_partial_`.
        kinds: annotations that are narrower than those of the class, by setting.
        nested: what nodes among its settings may be derived from.

    Raises:
        MusicrecError: names key, value and what is allowed.
    """
    demand(key, node, isinstance(node, dict) and TARGET in node, "a mapping with a _target_")
    make = target(key, node[TARGET], bases)
    demand(f"{key}.{PARTIAL}", node.get(PARTIAL, False), node.get(PARTIAL, False) is partial, str(partial).lower())
    for name, values in _HYDRA.items():
        if name in node:
            demand(f"{key}.{name}", node[name], node[name] in values, " or ".join(map(str, values)).lower())
    options = options_of(make, given)
    own = {name: value for name, value in node.items() if name not in (TARGET, PARTIAL, *_HYDRA)}
    check_options(make, own, key, options)
    for name, value in own.items():
        inner = value if isinstance(value, list) else [value]
        nodes = [one for one in inner if isinstance(one, dict) and TARGET in one]
        for one in nodes:
            check_node(f"{key}.{name}", one, nested or bases, nested=nested)
        if not nodes:
            known = options[name].kind if name in options else Any
            checked(f"{key}.{name}", value, (kinds or {}).get(name, known))
