"""Pipelines of passes: `inplace,schedule{time_limit_s=10},allocate`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast, get_type_hints

from lowtide.errors import InputError
from lowtide.ir import verify
from lowtide.passes.allocate import Allocate
from lowtide.passes.inplace import Inplace
from lowtide.passes.rematerialize import Rematerialize
from lowtide.passes.rewrite.stage import Rewriting
from lowtide.passes.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.passes.state import Pass, State

__all__ = ["DEFAULT", "available", "parse", "print_pipeline", "run"]

DEFAULT = "rewrite,inplace,schedule,rematerialize,allocate"

_BUILT_IN: dict[str, Callable[..., Pass]] = {
    "rewrite": Rewriting,
    "inplace": Inplace,
    "schedule": Schedule,
    "rematerialize": Rematerialize,
    "allocate": Allocate,
}
_GROUP = "lowtide.passes"


def available() -> dict[str, str]:
    """Every pass by name, with its options and where it comes from, for `lowtide passes`.

    Third parties' passes are listed without importing them.
    """
    found = {name: _signature(factory) for name, factory in _BUILT_IN.items()}
    for point in sorted(entry_points(group=_GROUP), key=lambda p: p.name):
        found.setdefault(point.name, f"from {point.value}")
    return found


def _signature(factory: Callable[..., Pass]) -> str:
    parts: list[str] = []
    for parameter in inspect.signature(factory).parameters.values():
        default = "" if parameter.default is parameter.empty else f"={parameter.default}"
        parts.append(f"{parameter.name}{default}")
    return ", ".join(parts)


def _factory(name: str) -> Callable[..., Pass]:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    for point in entry_points(group=_GROUP, name=name):
        try:
            return cast("Callable[..., Pass]", point.load())
        except Exception as error:
            raise InputError(
                f"the pass `{name}` of {point.value} cannot be loaded: {error}"
            ) from error
    raise InputError(f"there is no pass `{name}`; there are {', '.join(available())}")


_ITEM = re.compile(r"\s*([A-Za-z_][\w.\-]*)\s*(?:\{([^{}]*)\})?\s*(,|\Z)")


def parse(text: str) -> tuple[tuple[str, Pass], ...]:
    """The named passes of a pipeline, with their options set.

    Raises:
        InputError: the text is malformed, or names an unknown pass or option, or a wrong value.
    """
    passes: list[tuple[str, Pass]] = []
    position = 0
    while position < len(text) or not passes:
        match = _ITEM.match(text, position)
        if match is None:
            raise InputError(
                f"the pipeline `{text}` cannot be read at `{text[position : position + 20]}`; "
                f"an example is `{DEFAULT}`"
            )
        name, options, separator = match.groups()
        passes.append((name, _build(name, options or "")))
        position = match.end()
        if separator == "," and position >= len(text):
            raise InputError(f"the pipeline `{text}` ends with a comma")
        if not separator:
            break
    return tuple(passes)


def _build(name: str, options: str) -> Pass:
    factory = _factory(name)
    hints: dict[str, object] = {}
    if hasattr(factory, "__dataclass_fields__"):
        hints = get_type_hints(factory)
    values: dict[str, object] = {}
    for item in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = (piece.strip() for piece in item.partition("="))
        if not equals or (hints and key not in hints):
            known = ", ".join(hints) or "none"
            raise InputError(f"the pass `{name}` has no option `{item}`; its options are: {known}")
        values[key] = _value(name, key, value, hints.get(key))
    try:
        return factory(**values)
    except TypeError as error:
        raise InputError(f"the pass `{name}` does not take {{{options}}}: {error}") from error


def _value(name: str, key: str, text: str, hint: object) -> object:
    if text == "none" and hint is not str:
        return None
    try:
        if hint in (int, int | None):
            return int(text)
        if hint in (float, float | None):
            return float(text)
    except ValueError:
        raise InputError(
            f"the option {key} of the pass `{name}` is a number, not `{text}`"
        ) from None
    if hint is bool and text not in ("true", "false"):
        raise InputError(f"the option {key} of the pass `{name}` is true or false, not `{text}`")
    return text == "true" if hint is bool else text


def print_pipeline(passes: tuple[tuple[str, Pass], ...]) -> str:
    """The text of a pipeline; `parse` gives equal passes back."""
    parts: list[str] = []
    for name, each in passes:
        options: list[str] = []
        fields: dict[str, dataclasses.Field[object]] = getattr(each, "__dataclass_fields__", {})
        for key, entry in fields.items():
            value: object = getattr(each, key)
            if value != entry.default:
                plain = value is None or isinstance(value, bool)
                options.append(f"{key}={str(value).lower() if plain else value}")
        parts.append(name + (f"{{{','.join(options)}}}" if options else ""))
    return ",".join(parts)


def run(passes: tuple[tuple[str, Pass], ...], state: State) -> State:
    """Run the passes in order; the graph is verified before and after each.

    Raises:
        ModelError: a pass left an invalid graph.
        InputError: a pass returned something else than a state.
    """
    verify(state.graph)
    for name, each in passes:
        result: object = each(state)
        if not isinstance(result, type(state)):
            raise InputError(f"the pass `{name}` returned {type(result).__name__}, not a State")
        verify(result.graph)
        state = result
    return state
