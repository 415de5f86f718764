"""The plan: what a backend needs to carry out, frozen, with its certificate. `lowtide.plan/1`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, cast

from lowtide.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA", "Certificate", "InPlacePair", "Plan"]

SCHEMA = "lowtide.plan/1"

_MOST = 1 << 60  # of bytes


@dataclass(frozen=True, slots=True)
class InPlacePair:
    """Op `op` writes tensor `output` over tensor `input`."""

    op: str
    output: str
    input: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is claimed of the plan, and how far the proof reaches.

    Attributes:
        status: `optimal`, `feasible`, `infeasible` or `time_limit`.
        quantity: what the bound speaks of: `peak` or `arena`.
        scope: over what it holds: any `order`, `order+layout`, or this `fixed_order` only.
        covers: what the accounting of the proof includes beyond plain liveness.
        peak_bytes: the liveness peak of the sequence.
        lower_bound_bytes: no order has a lower peak.
        method: the algorithm that found the sequence.
        bound_method: the argument behind the bound.
    """

    status: str
    quantity: str
    scope: str
    covers: tuple[str, ...]
    peak_bytes: int
    lower_bound_bytes: int
    method: str
    bound_method: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The execution sequence and the layout for one model on one target.

    Attributes:
        model_sha256: of the bytes of the model that the plan was made for.
        target: the backend, such as `onnxruntime`.
        level: the optimisation level of the planning graph (`all`, `extended`, `basic`, `none`).
        accounting: the rules that the figures follow, as in the report.
        sequence: op names in execution order; a name that comes again is a recomputation.
        certificate: status, peak, bound; None before scheduling.
        offsets: storage root -> byte offset in the arena, sorted by name; empty before allocation.
        arena_bytes: the height of the layout; None before allocation.
        arena_lower_bound_bytes: no layout of this sequence is lower.
        in_place: the pairs that share a buffer in this sequence.
        rewrites: names of graph rewrites, in order.
        options: what the user asked for and what binds the plan: dimensions, route, seed, versions.
    """

    model_sha256: str
    target: str
    level: str
    accounting: Mapping[str, int | bool]
    sequence: tuple[str, ...]
    certificate: Certificate | None = None
    offsets: Mapping[str, int] = field(default_factory=dict[str, int])
    arena_bytes: int | None = None
    arena_lower_bound_bytes: int | None = None
    in_place: tuple[InPlacePair, ...] = ()
    rewrites: tuple[str, ...] = ()
    options: Mapping[str, str | int | bool] = field(default_factory=dict[str, "str | int | bool"])

    def to_json(self) -> str:
        """The plan as JSON text, the same for the same plan."""
        content = asdict(replace(self, offsets=dict(sorted(self.offsets.items()))))
        return json.dumps({"schema": SCHEMA, **content}, indent=1) + "\n"

    @property
    def digest(self) -> str:
        """SHA-256 of the plan's JSON, by which an emitted model names it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan back.

        Raises:
            PlanError: not JSON, another schema, or a field missing or of the wrong type.
        """
        try:
            data = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise PlanError(f"the plan is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise PlanError(f"the plan is a JSON {type(data).__name__}, not an object")
        content = cast("dict[str, object]", data)
        if content.pop("schema", None) != SCHEMA:
            raise PlanError(f'the plan does not say "schema": "{SCHEMA}"')
        try:
            return cls._from_dict(content)
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(f"the plan is malformed: {type(error).__name__} {error}") from None

    @classmethod
    def _from_dict(cls, data: dict[str, object]) -> Plan:
        certificate = None
        if data["certificate"] is not None:
            fields = dict(_object(data["certificate"]))
            fields["covers"] = tuple(_strings(fields["covers"]))
            certificate = Certificate(**fields)  # type: ignore[arg-type]
        arena, bound = data["arena_bytes"], data["arena_lower_bound_bytes"]
        return cls(
            model_sha256=_string(data["model_sha256"]),
            target=_string(data["target"]),
            level=_string(data["level"]),
            accounting={k: _integer(v) for k, v in _object(data["accounting"]).items()},
            sequence=tuple(_strings(data["sequence"])),
            certificate=certificate,
            offsets={k: _integer(v) for k, v in _object(data["offsets"]).items()},
            arena_bytes=None if arena is None else _integer(arena),
            arena_lower_bound_bytes=None if bound is None else _integer(bound),
            in_place=tuple(
                InPlacePair(**{k: _string(v) for k, v in _object(pair).items()})
                for pair in _list(data["in_place"])
            ),
            rewrites=tuple(_strings(data["rewrites"])),
            options=cast("dict[str, str | int | bool]", _object(data["options"])),
        )


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, found {value!r:.60}")
    return cast("dict[str, object]", value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, found {value!r:.60}")
    return cast("list[object]", value)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, found {value!r:.60}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"half a character in {value!a:.60}")
    return value


def _strings(value: object) -> list[str]:
    return [_string(item) for item in _list(value)]


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number, found {value!r:.60}")
    if not -_MOST <= value <= _MOST:
        raise ValueError("a whole number is beyond 2^60")
    return value
