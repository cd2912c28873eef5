"""Options: an object from the flat keys of its configuration group, some of which are fields of frozen values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, get_type_hints

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from musicrec.errors import MusicrecError

Made = TypeVar("Made")

# Keys of a group that are Hydra's.
_HYDRA = ("_target_", "_partial_", "_convert_", "_recursive_")


@dataclass(frozen=True)
class Option:
    """A key of a configuration group.

    Attributes:
        kind: the annotation of its argument or field.
        default: what it is if it is not given; `inspect.Parameter.empty` = it must be given.
        holder: the constructor's parameter that takes the value whose field it is; None = a parameter of its own.
    """

    kind: Any
    default: Any
    holder: str | None = None


def options_of(make: Callable[..., Any], given: Sequence[str] = ()) -> dict[str, Option]:
    """Returns the keys that a constructor takes, by name, in the order of its parameters.

    A parameter that is annotated as a dataclass stands for the fields of that class, which a default instance of the
    parameter may give other defaults. A field that has the name of a parameter cannot be set.

    Args:
        make: a class, or a function that makes an object.
        given: parameters that the program fills itself.
    """
    hints = _hints(make)
    options: dict[str, Option] = {}
    own = inspect.signature(make).parameters
    for name, parameter in own.items():
        if name in given or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        kind = hints.get(name, Any)
        if not is_dataclass(kind):
            options[name] = Option(kind, parameter.default)
            continue
        types = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            if field.name in own:
                continue
            if is_dataclass(parameter.default):
                default = getattr(parameter.default, field.name)
            elif field.default_factory is not MISSING:
                default = field.default_factory()
            else:
                default = parameter.empty if field.default is MISSING else field.default
            options[field.name] = Option(types[field.name], default, name)
    return options


def construct(
    make: Callable[..., Made],
    settings: Mapping[str, Any],
    group: str,
    given: Mapping[str, Any] | None = None,
    others: Sequence[str] = (),
) -> Made:
    """Returns the object that a class makes of flat settings.

    >>> from musicrec.data.filters import Filters
    >>> construct(Filters, {"min_user_plays": 5}, "data")
    Filters(min_user_plays=5, min_track_plays=0, item_sample=None)

    Args:
        make: the class.
        settings: keys to values.
        group: the configuration group, for messages.
        given: arguments that are no settings.
        others: further keys of the group, which somebody else reads, for messages.

    Raises:
        MusicrecError: for a key that the class does not know or lacks, or a value that it refuses.
    """
    given = given or {}
    options, parameters = options_of(make, tuple(given)), inspect.signature(make).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if (unknown := [key for key in settings if key not in options]) and not open_ended:
        known = ", ".join((*options, *others))
        raise MusicrecError(f"{group}.{unknown[0]} is unknown to {_name(make)}; it takes {known}")
    for key, option in options.items():
        if option.default is inspect.Parameter.empty and key not in settings:
            raise MusicrecError(f"{group}.{key} is missing: {_name(make)} needs it")
    arguments: dict[str, Any] = {key: value for key, value in settings.items() if key in unknown}
    held: dict[str, dict[str, Any]] = {option.holder: {} for option in options.values() if option.holder}
    for key, value in settings.items():
        if key in options:
            (arguments if (holder := options[key].holder) is None else held[holder])[key] = value
    hints = _hints(make)
    for name, values in held.items():
        default = parameters[name].default
        own = is_dataclass(default) and not isinstance(default, type)
        arguments[name] = replace(default, **values) if own else hints[name](**values)
    return make(**arguments, **given)


def make(node: DictConfig, group: str, given: Mapping[str, Any] | None = None) -> Any:
    """Returns the object that a configuration group describes: `_target_` and its settings; see `construct`."""
    settings = OmegaConf.to_container(node, resolve=True)
    assert isinstance(settings, dict)
    own = {str(key): value for key, value in settings.items() if key not in _HYDRA}
    return construct(get_class(str(node._target_)), own, group, given)


def changed(holder: Made, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values among an object's attributes that hold some settings, with these changed, by attribute.

    Args:
        holder: an object some of whose attributes are frozen dataclasses.
        changes: fields of these to their new values.
    """
    found: dict[str, Any] = {}
    for name, value in vars(holder).items():
        if is_dataclass(value) and not isinstance(value, type):
            own = {field.name: changes[field.name] for field in fields(value) if field.name in changes}
            found |= {name: replace(value, **own)} if own else {}
    return found


@cache
def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    """Returns the annotations of a constructor's parameters."""
    return get_type_hints(make.__init__ if inspect.isclass(make) else make, include_extras=True)


def _name(make: Callable[..., Any]) -> str:
    return f"{make.__module__}.{make.__qualname__}"
