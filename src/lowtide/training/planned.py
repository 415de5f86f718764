"""What users get: a function that follows a plan; and what they may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.backends.tensorflow.call import grappler_off
from lowtide.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from lowtide.tensorflow_types import TfFunction
    from lowtide.training.drawing import StepDrawing
    from lowtide.training.plan import TrainingPlan

__all__ = ["PlannedFunction", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plan is made.

    Attributes:
        budget: bytes, a size such as `4GiB`, a part (0 to 1) of the traced step's peak, or
            None: the trace's own order, nothing recomputed.
        profile: measure ops on this machine, once for each distinct one; else costs and scratch
            memory are modelled, and the scratch of convolutions is left out.
        time_limit_s: for the search; None for none.
        work_limit: of the search, in looks at a run, where there is a limit; without any limit a
            fixed amount of work. Plans are repeatable where no time limits them.
        solver: a named solver of rematerialization.
        seed: of the search.
        cache: keep measured costs and plans on disk.
        measure: run the emitted function in another process, and plan again with less where it
            allocates more than the budget (loops, whose inside is not modelled).
        jit_compile: whether XLA compiles what is emitted; None: as the function says.
    """

    budget: int | float | str | None
    profile: bool = True
    time_limit_s: float | None = 30.0
    work_limit: int | None = None
    solver: str = "search"
    seed: int = 0
    cache: bool = True
    measure: bool = False
    jit_compile: bool | None = None


class PlannedFunction:
    """A callable like the function that it was made from, with that one signature.

    Attributes:
        plan: what it runs, and what that needs.
        concrete_function: the emitted `ConcreteFunction`; called directly, TensorFlow's Grappler
            may undo the plan (not where XLA compiles it).
    """

    def __init__(
        self, function: TfFunction, plan: TrainingPlan, drawing: StepDrawing | None = None
    ) -> None:
        self.concrete_function = function
        self.plan = plan
        self._drawing = drawing

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run the function, as planned."""
        if self.plan.jit_compile:
            return self.concrete_function(*args, **kwargs)
        with grappler_off():
            return self.concrete_function(*args, **kwargs)

    def report(self) -> str:
        """What the plan needs and saves, for people."""
        return self.plan.report()

    def draw(self, path: str | Path, *, name: str | None = None) -> Path:
        """Write a picture of the plan; its name's ending says which.

        .html (a page), .svg, .png, .json (Chrome trace), .pickle (PyTorch's memory viewer).

        Args:
            path: where to.
            name: the headline; the function's name where None.

        Raises:
            InputError: another ending, it cannot be written, or the function was made otherwise
                than by `rematerialize` or `compile`.
            MissingExtraError: a PNG without the extra.
        """
        if self._drawing is None:
            raise InputError("the function was made without what a picture needs: plan it anew")
        return self._drawing.draw(self.plan, path, name)
