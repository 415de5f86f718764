"""Costs that a user gives in a JSON file of the schema `lowtide.costs/1`.

    {"schema": "lowtide.costs/1",
     "ops": {"conv1": 0.00125},
     "kinds": {"onnx.Conv": {"flops_per_s": 4e10, "bytes_per_s": 1e10, "overhead_s": 2e-6}},
     "default": {"flops_per_s": 1e10, "bytes_per_s": 5e9, "overhead_s": 1e-6}}

Times are in seconds; each part may be left out.  A file is not trusted: its size is bounded, and an
error names the key, its value and the remedy.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide.errors import InputError
from lowtide.passes.costs import DEFAULT_RATES, KIND_RATES, CostModel, Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_costs"]

_SCHEMA = "lowtide.costs/1"
_MOST_BYTES = 64 << 20
_MOST_SECONDS = 1e6
_NS = 1e9


def read_costs(path: str | Path) -> CostModel:
    """The costs in a file.

    Raises:
        InputError: it cannot be read, or is no valid file of costs.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path} is over {_MOST_BYTES:,} bytes: too large for a file of costs")
    try:
        parsed: object = json.loads(content, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    try:
        return _model(parsed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key `{twice}` is given twice")
    return found


def _model(parsed: object) -> CostModel:
    content = _table(parsed, "the file", ("schema", "ops", "kinds", "default"))
    if content.get("schema") != _SCHEMA:
        raise InputError(f'`schema` must be "{_SCHEMA}", not {content.get("schema")!r}')
    ops = {
        name: round(_number(seconds, f"ops.{name}", _MOST_SECONDS) * _NS)
        for name, seconds in _table(content.get("ops", {}), "`ops`").items()
    }
    default = _rates(content.get("default", {}), "default", DEFAULT_RATES)
    kinds = {
        name: _rates(rates, f"kinds.{name}", default)
        for name, rates in _table(content.get("kinds", {}), "`kinds`").items()
    }
    return CostModel(ops=ops, kinds={**KIND_RATES, **kinds}, default=default)


def _rates(parsed: object, where: str, otherwise: Rates) -> Rates:
    given = _table(parsed, f"`{where}`", ("flops_per_s", "bytes_per_s", "overhead_s"))

    def per_ns(key: str, other: float) -> float:
        if key not in given:
            return other
        rate = _number(given[key], f"{where}.{key}", math.inf)
        if rate < 1:
            raise InputError(f"`{where}.{key}` must be at least 1 a second, not {rate:g}")
        return rate / _NS

    overhead = otherwise.overhead_ns
    if "overhead_s" in given:
        overhead = round(_number(given["overhead_s"], f"{where}.overhead_s", _MOST_SECONDS) * _NS)
    return Rates(
        per_ns("flops_per_s", otherwise.flops_per_ns),
        per_ns("bytes_per_s", otherwise.bytes_per_ns),
        overhead,
    )


def _table(parsed: object, what: str, keys: tuple[str, ...] | None = None) -> Mapping[str, object]:
    if not isinstance(parsed, dict):
        raise InputError(f"{what} must be an object with keys, not {type(parsed).__name__}")
    found = cast("dict[str, object]", parsed)
    for key in found:
        if keys is not None and key not in keys:
            raise InputError(f"{what} has the unknown key `{key}`; there are {', '.join(keys)}")
    return found


def _number(value: object, where: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"`{where}` must be a number, not {value!r}")
    if not 0 <= value <= most or value == math.inf:
        raise InputError(f"`{where}` must be from 0 to {most:g} and finite, not {value:g}")
    return float(value)
