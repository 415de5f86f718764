"""A training plan, and its report for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TrainingPlan"]

_SCHEMA = "lowtide.training-plan/1"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Which ops run, in which order, and what that needs.

    Attributes:
        sequence: names of ops; one named again is recomputed.
        budget_bytes: what was asked for; None for no recomputation.
        peak_before_bytes: of the trace's own order, every op once.
        peak_after_bytes: of `sequence`, by the simulator: everything that the step allocates, its
            results included; arguments and variables are not in it.
        peak_bound_bytes: no sequence has a lower peak (0 where nothing is proven).
        cost_before_s: the sum of the ops' costs, every op once.
        cost_after_s: of `sequence`.
        recomputed: how many steps are repeats.
        variables_bytes: trainable variables.
        state_bytes: other variables: optimizer slots, statistics, metrics, seeds.
        inputs_bytes: the arguments of a call.
        scratch_unknown: how many ops' scratch memory is not modelled.
        measured_costs: whether costs come from this machine, or from a model.
        measured_peak_bytes: what a call of the emitted function allocated, where it was measured;
            where XLA compiles it, what XLA assigns.
        measured_before_bytes: what XLA assigns to the function as it was.
        jit_compile: whether XLA compiles the emitted function. It fuses ops: the budget is for the
            measured peak, and the others are of the ops one by one.
    """

    sequence: tuple[str, ...]
    budget_bytes: int | None
    peak_before_bytes: int
    peak_after_bytes: int
    peak_bound_bytes: int
    cost_before_s: float
    cost_after_s: float
    recomputed: int
    variables_bytes: int
    state_bytes: int
    inputs_bytes: int
    scratch_unknown: int
    measured_costs: bool
    measured_peak_bytes: int | None = None
    measured_before_bytes: int | None = None
    jit_compile: bool = False

    @property
    def overhead_percent(self) -> float:
        """The predicted extra time, in percent of every op once."""
        if not self.cost_before_s:
            return 0.0
        return 100.0 * (self.cost_after_s - self.cost_before_s) / self.cost_before_s

    def report(self) -> str:
        """What the plan needs and saves, for people."""
        budget = "none" if self.budget_bytes is None else format_bytes(self.budget_bytes)
        how = "measured" if self.measured_costs else "modelled"
        lines = [
            f"budget of a step        {budget}",
            *self._peaks(),
            f"beside it: trainable    {format_bytes(self.variables_bytes)}",
            f"           other state  {format_bytes(self.state_bytes)}",
            f"           arguments    {format_bytes(self.inputs_bytes)}",
            f"recomputation           {self.recomputed} of {len(self.sequence)} ops, "
            f"{self.overhead_percent:.2f} % more time predicted ({how} costs)",
        ]
        if self.measured_peak_bytes is not None and not self.jit_compile:
            lines.append(f"measured                {format_bytes(self.measured_peak_bytes)}")
        if self.scratch_unknown:
            lines.append(
                f"not modelled            scratch memory of {self.scratch_unknown} ops "
                f"(loops, branches, ops that could not be run alone)"
            )
        return "\n".join(lines)

    def _peaks(self) -> list[str]:
        planned = _change(self.peak_after_bytes, self.peak_before_bytes)
        if not self.jit_compile:
            return [f"peak of a step          {planned}"]
        measured = _change(self.measured_peak_bytes or 0, self.measured_before_bytes or 0)
        return [
            f"XLA's buffers           {measured}",
            f"planned for             {planned}, op by op: XLA fuses and orders by itself",
        ]

    def to_dict(self) -> dict[str, object]:
        """A JSON-able form."""
        return {"schema": _SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> TrainingPlan:
        """The inverse of `to_dict`.

        Raises:
            PlanError: it is none of this version.
        """
        fields = {key: value for key, value in data.items() if key != "schema"}
        sequence = fields.get("sequence")
        try:
            if data.get("schema") != _SCHEMA or not isinstance(sequence, list | tuple):
                raise TypeError(str(data.get("schema")))
            fields["sequence"] = tuple(str(name) for name in sequence)  # pyright: ignore
            return cls(**fields)  # type: ignore[arg-type]
        except TypeError as error:
            raise PlanError(f"not a plan of {_SCHEMA}: {error}") from error


def _change(after: int, before: int) -> str:
    saved = 1.0 - after / max(before, 1)
    return f"{format_bytes(after)} (was {format_bytes(before)}, {100 * saved:.1f} % less)"
