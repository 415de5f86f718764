"""Train larger TensorFlow and Keras models in the memory you have.

    import lowtide.tensorflow
    step = lowtide.tensorflow.rematerialize(train_step, budget="4GiB", example_inputs=(x, y))
    print(step.report())
    step.draw("step.html")
    loss = step(x, y)

or, with Keras:

    lowtide.tensorflow.compile(model, "adam", "mse", budget=0.6, metrics=["mae"])
    model.fit(x, y)
    print(model.lowtide.report())

A budget is for what one step allocates: activations, gradients, scratch memory and results. The
variables, the optimizer's slots and the arguments are there before and after, whatever is planned;
they are reported apart. A part such as 0.6 is of the peak of the step as it was traced.

What is computed again is computed by the same kernels from the same operands: loss, gradients and
variables are bit for bit those of the step that runs every op once. Stateful ops, random ones among
them, run once. TensorFlow is imported on first use.

`convert` makes an ONNX model a SavedModel or a .tflite, without a plan; `lowtide.optimize` with
`target="tensorflow"` or `"tflite"` plans it, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowtide.live import heard
from lowtide.tensorflow_types import load_tensorflow
from lowtide.training.keras_model import TrainingSteps, install
from lowtide.training.plan import TrainingPlan
from lowtide.training.planned import PlannedFunction, Settings
from lowtide.training.step import plan_function
from lowtide.training.traced import is_compiled, trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    import onnx_ir

    from lowtide.backends.tensorflow.from_onnx import Conversion, Quantize
    from lowtide.planning import Progress

__all__ = [
    "PlannedFunction",
    "TrainingPlan",
    "TrainingSteps",
    "compile",
    "convert",
    "measure_peak",
    "rematerialize",
]


def rematerialize(
    fn: object,
    *,
    budget: int | float | str | None,
    example_inputs: Sequence[object] | Mapping[str, object] | None = None,
    profile: bool = True,
    time_limit_s: float | None = 30.0,
    work_limit: int | None = None,
    solver: str = "search",
    seed: int = 0,
    cache: bool = True,
    measure: bool = False,
    jit_compile: bool | None = None,
    progress: Progress | bool = True,
) -> PlannedFunction:
    """A function that computes what `fn` does, within a budget of bytes.

    Args:
        fn: a `tf.function`, a Python function of tensors, or a `ConcreteFunction`: a whole training
            step (forward, loss, gradients, updates) or anything else of known shapes.
        budget: bytes, a size such as `4GiB`, or a part (0 to 1) of the peak that the step has as it
            was traced. None recomputes nothing: the baseline to compare with.
        example_inputs: arrays, tensors or `tf.TensorSpec`s, one an argument; or a mapping of names.
        profile: measure each distinct op once on this machine; else costs are modelled and scratch
            memory is left out.
        time_limit_s: for the search; None for a repeatable amount of work instead.
        work_limit: that amount, in looks at a run; fifty million take about a second of a core.
        solver: a named solver of rematerialization.
        seed: of the search.
        cache: keep measured costs and plans under `XDG_CACHE_HOME`.
        measure: run the result in another process, too, and plan again where it allocates more than
            the budget: for functions with loops, whose inside is not modelled.
        jit_compile: whether XLA compiles the result; None: as `fn` says. The budget is then for the
            buffers that XLA assigns, which are measured in another process, always.
        progress: told about stages and costs; True is a live line on stderr where that is a
            terminal, False nothing.

    Returns:
        A callable of that one signature; `plan`, `report()` and `draw()` say what it needs.

    Raises:
        InputError: the function cannot be planned (unknown shapes, distribution), XLA cannot
            compile it, or the budget is none.
        BudgetInfeasibleError, BudgetNotMetError: the message names the smallest budget that was
            met.
        MissingExtraError: TensorFlow is not installed.
    """
    load_tensorflow()
    settings = Settings(
        budget=budget,
        profile=profile,
        time_limit_s=time_limit_s,
        work_limit=work_limit,
        solver=solver,
        seed=seed,
        cache=cache,
        measure=measure,
        jit_compile=jit_compile,
    )
    traced = trace(fn, example_inputs, jit_compile=jit_compile)
    with heard(progress) as listener:
        return plan_function(traced, settings, listener)


def compile(
    model: object,
    optimizer: object,
    loss: object,
    *,
    budget: int | float | str | None,
    profile: bool = True,
    time_limit_s: float | None = 30.0,
    work_limit: int | None = None,
    solver: str = "search",
    seed: int = 0,
    cache: bool = True,
    measure: bool = False,
    progress: Progress | bool = True,
    **compile_options: object,
) -> TrainingSteps:
    """Compile a Keras model so that each training step stays within a budget of bytes.

    `fit` and `train_on_batch` plan when the first batch arrives, and again for a batch of another
    shape (the last, smaller one; drop the remainder to avoid that). Metrics, callbacks, class
    weights and mixed precision work as before; `evaluate` and `predict` are Keras's own.

    Args:
        model: a Keras 3 model on TensorFlow; it is compiled in place.
        optimizer: as in `model.compile`.
        loss: as in `model.compile`.
        budget: as in `rematerialize`.
        profile: as in `rematerialize`.
        time_limit_s: as in `rematerialize`.
        work_limit: as in `rematerialize`.
        solver: as in `rematerialize`.
        seed: as in `rematerialize`.
        cache: as in `rematerialize`.
        measure: as in `rematerialize`.
        progress: as in `rematerialize`.
        compile_options: further arguments of `model.compile`, such as `metrics`, or
            `jit_compile=True`: see `rematerialize`.

    Returns:
        The model's planned steps, which are `model.lowtide` too; `report()` says what they need.

    Raises:
        InputError: `run_eagerly`, `steps_per_execution` or a distribution strategy
            asks for what no plan can follow.
        MissingExtraError: TensorFlow is not installed.
    """
    load_tensorflow()
    keras_model: Any = model
    options = {"jit_compile": False, **compile_options}
    keras_model.compile(optimizer=optimizer, loss=loss, **options)
    settings = Settings(
        budget=budget,
        profile=profile,
        time_limit_s=time_limit_s,
        work_limit=work_limit,
        solver=solver,
        seed=seed,
        cache=cache,
        measure=measure,
    )
    return install(keras_model, settings, progress)


def measure_peak(fn: object, *args: object, **kwargs: object) -> int:
    """The bytes that one call of a function allocates at most, as TensorFlow's allocator logs it.

    Where XLA compiles the function, they are the buffers that XLA assigns.

    The function runs in another process, with variables of the same shapes. Arguments and variables
    are not counted; results are.

    Args:
        fn: a `PlannedFunction`, or whatever `rematerialize` takes; the latter is run as TensorFlow
            runs it, Grappler included.
        args: tensors, arrays or TensorSpecs, as in a call.
        kwargs: likewise.

    Raises:
        InputError: the function needs something that cannot be sent to another process.
        ChildError: it failed there.
    """
    from lowtide.backends.tensorflow.measure import measure_function
    from lowtide.backends.tensorflow.measure_xla import measure_xla

    load_tensorflow()
    if isinstance(fn, PlannedFunction):
        function, as_is = fn.concrete_function, True
    elif hasattr(fn, "captured_inputs"):
        function, as_is = trace(fn, None), False
    else:
        function, as_is = trace(fn, kwargs or args), False
    if is_compiled(function):
        return measure_xla(function).peak_bytes
    return measure_function(function, as_is=as_is).peak_bytes


def convert(
    model: str | Path | onnx.ModelProto | onnx_ir.Model,
    destination: str | Path,
    *,
    dims: Mapping[str, int] | None = None,
    quantize: Quantize = "none",
    representative: str | Path | None = None,
    verify: bool = True,
    seed: int = 0,
) -> Conversion:
    """Write an ONNX model as a SavedModel's folder or, where its name ends so, as a .tflite.

    The signature and its tensors have the model's own names; dimensions that stay open are open in
    the result. Outputs are compared with ONNX Runtime's; nothing is planned.

    Args:
        model: a path, an `onnx.ModelProto` or an `onnx_ir.Model`; never changed.
        destination: the .tflite, or the folder; it appears whole or not at all.
        dims: values for open dimensions, by name, by `tensor[axis]`, `*` for all others.
        quantize: for a .tflite: `float16` (weights), `int8` (with `representative`), `qdq` (by the
            model's own QuantizeLinear and DequantizeLinear), or `none`.
        representative: an .npz with an array [samples, ...] for each input, by its name.
        verify: run the result beside ONNX Runtime.
        seed: of the random inputs.

    Raises:
        InputError: the model or an option cannot be used; the message names what is not emitted.
        VerificationError: the result computes something else; nothing was written.
        MissingExtraError: TensorFlow is not installed.
    """
    from lowtide.backends.tensorflow.from_onnx import convert as converted
    from lowtide.frontends.onnx import read
    from lowtide.outputs import SOURCE, refuse

    reads = {SOURCE: model, "representative": representative}
    refuse(reads, {"destination": Path(destination)}, folders={"destination"})
    source = read(model, dims=dims)
    return converted(
        source.model,
        destination,
        quantize=quantize,
        representative=representative,
        verify=verify,
        seed=seed,
    )
