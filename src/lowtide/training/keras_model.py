"""Keras models whose training step follows a plan.

    fit ─▶ train_function(iterator) ─▶ one batch ─▶ step of that signature: plan once, then run

`model.train_step` is traced as it is, so custom steps, metrics, losses, class and sample weights
and mixed precision are what they were; `evaluate` and `predict` are not touched. A model that is
compiled anew (`model.compile`) keeps the budget, and is planned anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lowtide.errors import InputError
from lowtide.live import heard
from lowtide.tensorflow_types import load_tensorflow
from lowtide.training.planned import PlannedFunction, Settings
from lowtide.training.step import plan_function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lowtide.planning import Progress

__all__ = ["TrainingSteps", "install"]


class TrainingSteps:
    """The planned training steps of a Keras model, one for each shape of a batch."""

    def __init__(self, model: Any, settings: Settings, progress: Progress | bool = True) -> None:
        self._model = model
        self._progress = progress
        self._asked = self._settings = settings
        self._steps: dict[tuple[object, ...], PlannedFunction] = {}

    def forget(self) -> None:
        """Plan anew: the model was compiled anew, with another optimizer or other losses."""
        self._settings = self._asked
        self._steps.clear()

    @property
    def functions(self) -> tuple[PlannedFunction, ...]:
        """The steps that were planned so far, in order."""
        return tuple(self._steps.values())

    def report(self) -> str:
        """The plans' reports; a hint before the first batch."""
        if not self._steps:
            return "nothing is planned yet: plans are made when the first batch arrives"
        return "\n\n".join(step.report() for step in self._steps.values())

    def __call__(self, data: object) -> object:
        """One training step on a batch."""
        tensorflow = load_tensorflow()

        def tensor(value: object) -> object:
            if value is None or isinstance(value, tensorflow.experimental.Optional):
                return None  # how Keras hands on what is left out, as its own steps take it
            if isinstance(value, tensorflow.RaggedTensor | tensorflow.SparseTensor):
                raise InputError(
                    f"a batch has a {type(value).__name__}: its size depends on data, which no "
                    f"plan can follow; make it dense (to_tensor, tf.sparse.to_dense)"
                )
            return tensorflow.convert_to_tensor(value)

        data = tensorflow.nest.map_structure(tensor, data)
        flat = tensorflow.nest.flatten(data)
        shapes = [None if t is None else (t.dtype.name, tuple(t.shape)) for t in flat]
        form = tensorflow.nest.pack_sequence_as(data, [0] * len(flat))
        key = (repr(form), *shapes)
        if key not in self._steps:
            self._steps[key] = self._planned(data)
        return self._steps[key](data)

    def _planned(self, data: object) -> PlannedFunction:
        tensorflow = load_tensorflow()
        model = self._model
        optimizer = model.optimizer
        if not optimizer.built:
            optimizer.build(model.trainable_variables)

        def spec(value: object) -> object:
            return None if value is None else tensorflow.TensorSpec.from_tensor(value)

        step = tensorflow.function(
            model.train_step, autograph=False, jit_compile=bool(model.jit_compile)
        )
        traced = step.get_concrete_function(tensorflow.nest.map_structure(spec, data))
        with heard(self._progress) as listener:
            planned = plan_function(traced, self._settings, listener)
        first = next(iter(self._steps.values()), None)
        if first is None and planned.plan.budget_bytes is not None:
            # A part of the peak means the first batch's: a smaller last one has the same budget.
            self._settings = replace(self._settings, budget=planned.plan.budget_bytes)
        return planned


def install(model: Any, settings: Settings, progress: Progress | bool = True) -> TrainingSteps:
    """Let `model.fit` and `train_on_batch` run planned steps; `progress` as in `rematerialize`.

    Raises:
        InputError: the model is compiled in a way that no plan can follow.
    """
    tensorflow = load_tensorflow()
    strategy = getattr(model, "_distribute_strategy", None)
    if tensorflow.distribute.has_strategy() or getattr(strategy, "num_replicas_in_sync", 1) > 1:
        raise InputError("distribution strategies are not supported: a plan is for one device")
    if model.run_eagerly:
        raise InputError("run_eagerly=True runs op by op: leave it out, a plan needs the graph")
    if model.steps_per_execution != 1:
        raise InputError(
            f"steps_per_execution={model.steps_per_execution}: a plan is for one step, leave it out"
        )
    steps = TrainingSteps(model, settings, progress)
    original = model.make_train_function

    def train_function(iterator: Iterator[object]) -> object:
        return steps(next(iterator))

    def make_train_function(force: bool = False) -> Callable[[Iterator[object]], object]:
        if model.run_eagerly or model.steps_per_execution != 1:
            original(force=force)  # compiled anew in a way that no plan follows
        elif model.train_function is None or force:
            steps.forget()
            model.train_function = train_function
        made: Callable[[Iterator[object]], object] = model.train_function
        return made

    model.make_train_function = make_train_function
    model.train_function = None
    model.lowtide = steps
    return steps
