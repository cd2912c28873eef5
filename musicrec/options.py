"""Options: an object from the flat keys of its configuration group, some of which are fields of frozen values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, get_type_hints

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from musicrec.errors import MusicrecError
from musicrec.values import checked

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
    return make(**gathered(make, settings, group, tuple(given), others), **given)


def gathered(
    make: Callable[..., Any],
    settings: Mapping[str, Any],
    group: str,
    given: Sequence[str] = (),
    others: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns the arguments that `construct` passes to a class, without those that are no settings; errors as there."""
    options = options_of(make, given)
    check_options(make, settings, group, options, others)
    for key, option in options.items():
        if option.default is inspect.Parameter.empty and key not in settings:
            raise MusicrecError(f"{group}.{key} is missing: {_name(make)} needs it")
    arguments: dict[str, Any] = {}
    held: dict[str, dict[str, Any]] = {option.holder: {} for option in options.values() if option.holder}
    for key, value in settings.items():
        option = options.get(key, Option(Any, None))
        fitting = checked(f"{group}.{key}", value, option.kind)
        (arguments if option.holder is None else held[option.holder])[key] = fitting
    hints, parameters = _hints(make), inspect.signature(make).parameters
    for name, values in held.items():
        default = parameters[name].default
        own = is_dataclass(default) and not isinstance(default, type)
        arguments[name] = replace(default, **values) if own else hints[name](**values)
    return arguments


def check_options(
    make: Callable[..., Any],
    settings: Iterable[str],
    group: str,
    options: Mapping[str, Option],
    others: Sequence[str] = (),
) -> None:
    """Refuses keys that a constructor does not take.

    Args:
        make: the class.
        settings: the keys.
        group: the configuration group, for messages.
        options: the keys that it takes.
        others: further keys of the group, for messages.

    Raises:
        MusicrecError: names the key and those that it takes.
    """
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(make).parameters.values()):
        return
    if unknown := [key for key in settings if key not in options]:
        known = ", ".join((*options, *others))
        raise MusicrecError(f"{group}.{unknown[0]} is unknown to {_name(make)}; it takes {known}")


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
    """Returns the annotations of a constructor's parameters; Any where they name what cannot be imported."""
    try:
        return get_type_hints(make.__init__ if inspect.isclass(make) else make, include_extras=True)
    except (NameError, TypeError):
        return {}


def _name(make: Callable[..., Any]) -> str:
    return f"{make.__module__}.{make.__qualname__}"
