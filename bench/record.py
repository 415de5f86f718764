"""What an experiment leaves behind: a manifest, measures that can be compared, and its own rows.

    {"schema": "lowtide.bench/1", "manifest": {...}, "measures": [...], ...}

The manifest says what was measured and how to do it again (experiment, command, settings and seed,
machine, versions, commit, models by digest), after MLModelScope's manifests.  A measure is one
number: of which case, whose, what, in which unit.  The rest is the experiment's own.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from reprlib import repr as brief  # of bounded length and depth, whatever a file holds
from typing import TYPE_CHECKING, Any, cast

from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["SCHEMA", "UNITS", "Manifest", "Measure", "Record", "digest", "load"]

SCHEMA = "lowtide.bench/1"
# Bytes and counts are exact and repeat; seconds belong to a machine, and their ratios (s/s) to how
# busy it is; percent and other ratios to a search's limits.
UNITS = ("bytes", "count", "s", "s/s", "%", "ratio")
_MOST_BYTES = 1 << 28
_CALIBRATIONS = 1e-6, 1e6  # CPU-seconds of the piece of work that takes some hundredths


@dataclass(frozen=True, slots=True)
class Measure:
    """One number; less is better.

    Attributes:
        case: the model, instance, or row of a table.
        who: the solver, runtime or way.
        what: peak, gap (peak over bound), arena, overhead, CPU, latency, ...
        unit: one of `UNITS`.
        value: finite.
        peer: whether it is another's, and no fault of ours if it grows.
    """

    case: str
    who: str
    what: str
    unit: str
    value: float | int
    peer: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What the same number has in another run."""
        return self.case, self.who, self.what


@dataclass(frozen=True, slots=True)
class Manifest:
    """How to do it again.

    Attributes:
        experiment: its name, that of its file.
        peak: what the word means in it.
        command: that made it; paths without their folders.
        settings: of the run, the seed among them.
        machine: processor, cores, system, and the CPU-seconds of a fixed piece of work.
        versions: of what takes part.
        commit: of the sources, `+` if they were changed since; empty outside git.
        models: SHA-256 by name, where there is a file or a problem to take it of.
        note: what else has to be known.
    """

    experiment: str
    command: tuple[str, ...]
    settings: Mapping[str, object]
    machine: Mapping[str, object]
    versions: Mapping[str, str]
    commit: str = ""
    models: Mapping[str, str] = field(default_factory=dict[str, str])
    peak: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A result file: `rows` is the whole document, with the experiment's own lists."""

    manifest: Manifest
    measures: tuple[Measure, ...]
    rows: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> str:
        """The file's text; one measure a line."""
        head = {"schema": SCHEMA, "manifest": asdict(self.manifest)}
        parts = [json.dumps(head, indent=1)[:-2]]
        lines = ",\n  ".join(json.dumps(_shortened(measure)) for measure in self.measures)
        parts.append(f' "measures": [\n  {lines}\n ]' if lines else ' "measures": []')
        if self.rows:
            parts.append(json.dumps(dict(self.rows), indent=1)[2:-2])
        return ",\n".join(parts) + "\n}\n"


def _shortened(measure: Measure) -> dict[str, object]:
    found = asdict(measure)
    if not measure.peer:
        del found["peer"]
    return found


def digest(problem: object) -> str:
    """SHA-256 of a file's bytes, or of the text that a problem's dataclass has."""
    data = problem if isinstance(problem, bytes) else repr(problem).encode()
    return hashlib.sha256(data).hexdigest()


def load(path: Path) -> Record:
    """A result file; what it has in its texts and numbers can be compared and shown.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise InputError(f"{path} has over {_MOST_BYTES:,} bytes: that is no result")
        document: object = json.loads(data.decode())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a result: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is no result of a benchmark: an object is expected")
    content = cast("dict[str, Any]", document)
    schema = content.get("schema")
    if schema != SCHEMA:
        raise InputError(f"{path}: the schema is {brief(schema)}, not {SCHEMA!r}")
    try:
        manifest = _manifest(content["manifest"])
        entries = cast("list[Mapping[str, Any]]", _list(content["measures"]))
        measures = tuple(_measure(entry) for entry in entries)
        _once(measures)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is a damaged result: {error!r:.300}") from error
    rest = {k: v for k, v in content.items() if k not in ("schema", "manifest", "measures")}
    return Record(manifest, measures, rest)


def _manifest(told: Mapping[str, Any]) -> Manifest:
    command: dict[str, Any] = {"command": tuple(_list(told["command"]))}
    found = Manifest(**{**told, **command})
    if not found.experiment or not all(
        map(_is_shown, (found.experiment, found.commit, found.peak, found.note, *found.command))
    ):
        raise ValueError(
            "the manifest's experiment, command, commit, peak and note have to be printable texts"
        )
    _check(told, "settings", _is_setting)
    _check(told, "machine", _is_fact)
    _check(told, "versions", _is_shown)
    _check(told, "models", _is_shown)
    seconds = found.machine.get("calibration_cpu_s", 1.0)
    low, high = _CALIBRATIONS
    if not isinstance(seconds, int | float) or not low <= seconds <= high:
        raise ValueError(f"the calibration has to be of {low} to {high:,} s: {brief(seconds)}")
    return found


def _check(told: Mapping[str, Any], name: str, holds: Callable[[object], bool]) -> None:
    values = told.get(name, {})
    if not isinstance(values, dict):
        raise TypeError(f"the manifest's {name} have to be an object: {brief(values)}")
    for key, value in cast("dict[str, object]", values).items():
        if not _is_shown(key) or not holds(value):
            raise ValueError(f"of the manifest's {name}: {brief(key)} is {brief(value)}")


def _measure(entry: Mapping[str, Any]) -> Measure:
    measure = Measure(**entry)
    if not all(map(_is_shown, (measure.case, measure.who, measure.what))):
        raise ValueError(f"case, who and what have to be printable texts: {brief(entry)}")
    if measure.unit not in UNITS or not isinstance(entry.get("peer", False), bool):
        raise ValueError(f"the unit has to be one of {UNITS}, peer true or false: {brief(entry)}")
    if isinstance(measure.value, bool) or not math.isfinite(measure.value):
        raise ValueError(f"no finite number: {brief(entry)}")
    return measure


def _once(measures: tuple[Measure, ...]) -> None:
    keys: set[tuple[str, str, str]] = set()
    for measure in measures:
        if measure.key in keys:
            raise ValueError(f"a measure stands there twice: {brief(measure.key)}")
        keys.add(measure.key)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"a list is expected, not {brief(value)}")
    return cast("list[object]", value)


def _is_shown(value: object) -> bool:
    """Whether it is a text that a terminal takes: no control character, no half of a pair."""
    return isinstance(value, str) and value.isprintable()


def _is_fact(value: object) -> bool:
    return value is None or isinstance(value, int | float) or _is_shown(value)


def _is_setting(value: object) -> bool:
    return (
        all(map(_is_fact, cast("list[object]", value)))
        if isinstance(value, list)
        else _is_fact(value)
    )
