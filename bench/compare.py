"""Two results of one experiment, as ratios: what became better, what worse, what is gone.

Bytes and counts are exact, so any more is worse.  Percent and ratios come from searches with
limits, so they are worse from a margin on.  CPU-seconds are first divided by those of a fixed piece
of work on the same machine; they and ratios of times are judged by their geometric mean alone.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lowtide.bench.protocol import markdown
from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.bench.record import Measure, Record

__all__ = ["Comparison", "Group", "compare", "text_of"]

_POINTS, _PART = 0.25, 0.1  # of percent and of ratios: more than that is worse
_EXACT, _TIMES = ("bytes", "count"), ("s", "s/s")
_MOST_NAMES, _MOST_TEXT = 8, 60
_READABLE = 1e6  # larger ratios are shown with an exponent


@dataclass(frozen=True, slots=True)
class Group:
    """The measures of one kind; pairs are (before, now)."""

    who: str
    what: str
    unit: str
    peer: bool
    pairs: dict[str, tuple[float, float]]
    tolerance: float

    @property
    def mean(self) -> float:
        """Of now over before, geometric, where both are positive; not a number without any."""
        logs = [
            math.log(now) - math.log(old)  # the quotient may be beyond what a float holds
            for old, now in self.pairs.values()
            if old > 0 and now > 0
        ]
        try:
            return math.exp(math.fsum(logs) / len(logs)) if logs else math.nan
        except OverflowError:
            return math.inf

    def _beyond(self, old: float, now: float) -> bool:
        if self.unit in _EXACT:
            return now > old
        if self.unit == "%":
            return now > old + _POINTS and now > old * (1 + _PART)
        return self.unit == "ratio" and now > old * (1 + _PART)

    @property
    def worse(self) -> list[str]:
        """Cases that became worse by more than their unit allows; of times none."""
        return [case for case, (old, now) in self.pairs.items() if self._beyond(old, now)]

    @property
    def better(self) -> list[str]:
        """The same the other way."""
        return [case for case, (old, now) in self.pairs.items() if self._beyond(now, old)]

    @property
    def fails(self) -> bool:
        """Whether it counts against us."""
        if self.peer:
            return False
        return bool(self.worse) or (self.unit in _TIMES and self.mean > self.tolerance)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One experiment, before and now.

    Attributes:
        experiment: its name.
        groups: what both have measured.
        lost: measures of ours that a case had and has no more (a solver that finds no answer), or
            has in another unit, or as another's: nothing that was kept says that it held.
        gone: cases of the baseline alone, as of a part of the experiment.
        new: cases of now alone.
        notes: on settings, machines and models, and on others' measures that changed their unit.
    """

    experiment: str
    groups: tuple[Group, ...]
    lost: tuple[str, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether any of our measures is worse than before, or not there any more."""
        return bool(self.lost) or any(group.fails for group in self.groups)


def compare(before: Record, now: Record, *, tolerance: float = 1.5) -> Comparison:
    """Compare what both have measured.

    Args:
        before: the baseline.
        now: the newer result.
        tolerance: of the means of CPU-seconds and of ratios of times.

    Raises:
        InputError: they are of different experiments, or the tolerance is below 1.
    """
    if not tolerance >= 1:
        raise InputError(f"the tolerance of seconds is {tolerance}: it has to be a ratio from 1 on")
    name = now.manifest.experiment
    if before.manifest.experiment != name:
        raise InputError(
            f"the results are of different experiments: {before.manifest.experiment} and {name}"
        )
    notes = _settings(before, now)
    speed = _speed(before, now, notes)
    for model, known in now.manifest.models.items():
        if before.manifest.models.get(model, known) != known:
            notes.append(f"{model} is another model than in the baseline")
    old = {measure.key: measure for measure in before.measures}
    found: dict[tuple[str, str, str, bool], dict[str, tuple[float, float]]] = defaultdict(dict)
    for measure in now.measures:
        other = old.get(measure.key)
        if other is None or _change(other, measure):
            continue
        factor = speed if measure.unit == "s" else 1.0
        group = measure.who, measure.what, measure.unit, measure.peer
        found[group][measure.case] = (other.value * factor, measure.value)
    here = {measure.case for measure in now.measures}
    there = {measure.case for measure in before.measures}
    return Comparison(
        experiment=name,
        groups=tuple(Group(*key, pairs, tolerance) for key, pairs in found.items()),
        lost=tuple(sorted(_lost(before, now, notes))),
        gone=tuple(sorted(there - here)),
        new=tuple(sorted(here - there)),
        notes=tuple(notes),
    )


def _lost(before: Record, now: Record, notes: list[str]) -> list[str]:
    have = {measure.key: measure for measure in now.measures}
    here = {measure.case for measure in now.measures}
    lost: list[str] = []
    for measure in before.measures:
        name = f"{measure.case}: {measure.who}'s {measure.what}"
        other = have.get(measure.key)
        change = _change(measure, other) if other is not None else ""
        if measure.peer and change:
            notes.append(f"{name} is not compared: {change}")
        elif not measure.peer and (change or (other is None and measure.case in here)):
            lost.append(f"{name} ({change})" if change else name)
    return lost


def _change(before: Measure, now: Measure) -> str:
    """Why two of one key are different measures; empty if they are not."""
    if now.unit != before.unit:
        return f"in {now.unit} now, in {before.unit} before"
    return "a peer's now" if now.peer and not before.peer else ""


def _settings(before: Record, now: Record) -> list[str]:
    """What differs in them, in a line."""
    old, new = before.manifest.settings, now.manifest.settings
    told = [
        f"{key} {_told(new, key)}, not {_told(old, key)}"
        for key in {**old, **new}
        if key not in old or key not in new or old[key] != new[key]
    ]
    return [f"other settings than in the baseline: {'; '.join(told)}"] if told else []


def _told(settings: Mapping[str, object], key: str) -> str:
    text = json.dumps(settings[key]) if key in settings else "unknown"
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."


def _speed(before: Record, now: Record, notes: list[str]) -> float:
    """What a second of then is on the machine of now."""
    old, new = (
        cast("float | None", each.manifest.machine.get("calibration_cpu_s"))
        for each in (before, now)
    )
    if before.manifest.machine.get("cpu") != now.manifest.machine.get("cpu"):
        notes.append(f"another processor: {before.manifest.machine.get('cpu', 'unknown')}")
    if not old or not new:
        notes.append("the baseline's machine was not calibrated: seconds are compared as they are")
        return 1.0
    return new / old


def text_of(comparison: Comparison) -> str:
    """As Markdown."""
    rows: list[list[str]] = []
    worse: list[str] = []
    for group in comparison.groups:
        rows.append(
            [
                f"{group.who}: {group.what}",
                "CPU-s" if group.unit == "s" else group.unit,
                str(len(group.pairs)),
                _ratio(group.mean),
                *(str(len(cases)) for cases in (group.better, group.worse)),
                "peer" if group.peer else ("**worse**" if group.fails else "holds"),
            ]
        )
        if group.fails:
            worse += [f"{group.who}: {group.what}: {_pair(group, case)}" for case in group.worse]
    parts = [f"## {comparison.experiment}: now over the baseline"]
    header = ["measure", "unit", "cases", "geometric mean", "better", "worse", "verdict"]
    parts.append(markdown(header, rows) if rows else "No measure in common with the baseline.")
    if worse:
        parts.append("\n".join(f"- {line}" for line in worse))
    for title, names in (
        ("**lost**", comparison.lost),
        ("only in the baseline", comparison.gone),
        ("new", comparison.new),
    ):
        if names:
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            parts.append(f"{title}: {', '.join(names[:_MOST_NAMES])}{more}")
    parts += comparison.notes
    return "\n\n".join(parts) + "\n"


def _ratio(mean: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.3f}" if mean < _READABLE else f"{mean:.3g}"


def _pair(group: Group, case: str) -> str:
    old, now = group.pairs[case]
    show = "{:,.0f}" if group.unit == "bytes" else "{:.4g}"
    return f"{case}: {show.format(old)} to {show.format(now)}"
