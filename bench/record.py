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
from typing import TYPE_CHECKING, Any, cast

from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SCHEMA", "UNITS", "Manifest", "Measure", "Record", "digest", "load"]

SCHEMA = "lowtide.bench/1"
# Bytes and counts are exact and repeat; seconds belong to a machine, and their ratios (s/s) to how
# busy it is; percent and other ratios to a search's limits.
UNITS = ("bytes", "count", "s", "s/s", "%", "ratio")
_MOST_BYTES = 1 << 28


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
    """A result file.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} has over {_MOST_BYTES:,} bytes: that is no result")
        document: object = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a result: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is no result of a benchmark: an object is expected")
    content = cast("dict[str, Any]", document)
    schema = content.get("schema")
    if schema != SCHEMA:
        raise InputError(f"{path}: the schema is {schema!r}, not {SCHEMA!r}")
    try:
        manifest = _manifest(content["manifest"])
        measures = tuple(_measure(entry) for entry in content["measures"])
        rest = {k: v for k, v in content.items() if k not in ("schema", "manifest", "measures")}
        return Record(manifest, measures, rest)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is a damaged result: {error!r}") from error


def _manifest(told: Mapping[str, Any]) -> Manifest:
    command: dict[str, Any] = {"command": tuple(told["command"])}
    objects = [told.get(key, {}) for key in ("settings", "machine", "versions", "models")]
    if not isinstance(told["experiment"], str) or not all(isinstance(o, dict) for o in objects):
        raise ValueError("no manifest")
    found = Manifest(**{**told, **command})
    seconds = found.machine.get("calibration_cpu_s", 1.0)
    if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"no CPU-seconds: {seconds!r}")
    return found


def _measure(entry: Mapping[str, Any]) -> Measure:
    measure = Measure(**entry)
    texts = [entry[key] for key in ("case", "who", "what")]
    if not all(isinstance(text, str) for text in texts) or measure.unit not in UNITS:
        raise ValueError(f"no measure: {entry}")
    if isinstance(measure.value, bool) or not math.isfinite(measure.value):
        raise ValueError(f"no finite number: {entry}")
    return measure
