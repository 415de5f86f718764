"""Cases of the tests of functions that XLA compiles; run as a script, they print JSON."""

# TensorFlow and Keras have no stubs: their modules are loaded as values of any type.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownLambdaType=false

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from tensorflow_cases import SEMANTICS, SPEC, VARIABLES, WEIGHTS, WORK, X, chain, refused, three

import lowtide.tensorflow
from lowtide.backends.tensorflow import reemit_xla as emitter
from lowtide.backends.tensorflow.measure_xla import assigned, compiled_program
from lowtide.backends.tensorflow.reemit_xla import reemit_xla
from lowtide.frontends.tensorflow import import_function
from lowtide.frontends.tensorflow.fold import fold_sizes
from lowtide.frontends.tensorflow.inline import inline
from lowtide.training.planned import Settings
from lowtide.training.step_graph import StepGraph

tf: Any = importlib.import_module("tensorflow")
keras: Any = importlib.import_module("keras")
layers: Any = keras.layers
STEPS = ("branch", "nested", "accumulate", "reads_around")


def program(function: Any) -> bytes:
    given = function.inputs[: len(function.inputs) - len(function.captured_inputs)]
    specs = [tf.TensorSpec(t.shape, t.dtype) for t in given]
    return compiled_program(function.name, specs, function.captured_inputs)


def peak(function: Any) -> int:
    return assigned(program(function)).peak_bytes


def planned(function: Any, part: float) -> tuple[Any, int]:
    """A traced function, planned by simulation and emitted for XLA; how many ops run again."""
    flat = fold_sizes(inline(function, compiled=True))
    settings = Settings(budget=part, profile=False, cache=False, **WORK)
    step = StepGraph(flat, settings, scratch=False)
    plan = step.plan(int(part * step.before_bytes), closest=True)
    return reemit_xla(flat, plan.sequence), plan.recomputed


def semantics() -> dict[str, Any]:
    """Per step: results, and XLA's buffers, as the function was and as it is planned."""
    initial = [v.numpy() for v in VARIABLES]
    found: dict[str, Any] = {}
    for name in STEPS:
        traced = tf.function(SEMANTICS[name], jit_compile=True).get_concrete_function(SPEC)
        again, recomputed = planned(traced, 0.6)
        before, after = three(traced, initial), three(again, initial)
        found[name] = {
            "close": all(np.allclose(a, b, 1e-5, 1e-6) for a, b in zip(before, after, strict=True)),
            "trained": not all(
                np.array_equal(a, b) for a, b in zip(before[-len(initial) :], initial, strict=True)
            ),
            "recomputed": recomputed,
            "before": peak(traced),
            "after": peak(again),
        }
    return found


def bits() -> dict[str, Any]:
    """What a repeat reads is handed on bit by bit, whatever its values and the token's are."""
    special = np.array(
        [0x80000000, 0, 0x7FC12345, 0xFFC54321, 0x7F800000, 0xFF800000, 1, 0x3F800001]
    )
    values: Any = special.astype("uint32").view("float32")
    found: dict[str, Any] = {}

    def twice(x: Any, token: Any, kind: str) -> Any:
        first = tf.bitcast(x, kind)
        return first, token + token, tf.identity(first)

    types: dict[str, tuple[Any, str]] = {
        "float32": (values, "int32"),
        "float64": (special.astype("uint64").view("float64"), "int64"),
        "float16": (special.astype("uint16").view("float16"), "int16"),
        "int32": (values.view("int32"), "float32"),
        "int64": (np.arange(-4, 4), "float64"),
    }
    tokens = ("float32", "float16", "bfloat16", "float64", "int32", "int64")
    for index, (name, (x, kind)) in enumerate(types.items()):
        for token in (tokens[index], tokens[index + 1]):
            spec = (tf.TensorSpec(x.shape, name), tf.TensorSpec((3,), token))
            function = tf.function(lambda a, b, k=kind: twice(a, b, k), jit_compile=True)
            traced = function.get_concrete_function(*spec)
            names = [o.name for o in traced.graph.get_operations() if o.type != "Placeholder"]
            first, add, copy = names[:3]
            # The first result is of the first run, the last one of the second.
            emitted: Any = reemit_xla(traced, [first, names[3], add, first, copy, *names[4:]])
            selects = sum(o.type == "SelectV2" for o in emitted.graph.get_operations())
            ok = selects == 1
            for number in (0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf):
                if "int" in token and not np.isfinite(number):
                    continue
                late = tf.cast(tf.constant([number] * 3, "float64"), token)
                results = emitted(tf.constant(x), late)
                ok &= results[0].numpy().tobytes() == results[2].numpy().tobytes()
                ok &= results[0].numpy().tobytes() == x.tobytes()
            found[f"{name} behind {token}"] = ok
    return found


def barriers() -> dict[str, Any]:
    """XLA's buffers for a step: as traced, planned, and planned without the selects."""

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(chain(x) ** 2)
        return loss, tape.gradient(loss, WEIGHTS)

    traced = tf.function(step, jit_compile=True).get_concrete_function(SPEC)
    again, recomputed = planned(traced, 0.6)
    emitter_type: Any = vars(emitter)["_XlaEmitter"]
    original = emitter_type._apart
    emitter_type._apart = lambda _self, _op, inputs, _last: inputs
    try:
        merged, _ = planned(traced, 0.6)
    finally:
        emitter_type._apart = original

    results = [traced(X), again(X), merged(X)]
    flat = [[t.numpy() for t in tf.nest.flatten(r)] for r in results]
    return {
        "merged": peak(merged),
        "recomputed": recomputed,
        "close": all(
            np.allclose(a, b, 1e-5, 1e-7) for f in flat[1:] for a, b in zip(flat[0], f, strict=True)
        ),
        "before": peak(traced),
        "after": peak(again),
    }


def dropout() -> dict[str, Any]:
    """A stateful mask is made once: results and gradients are zero in the same places."""

    def masked(x: Any) -> Any:
        ones = tf.ones_like(x)
        with tf.GradientTape() as tape:
            tape.watch(ones)
            h = tf.nn.dropout(ones * tf.tanh(x), 0.5)
            for weight in WEIGHTS:
                h = h + 0.0 * tf.tanh(h @ weight)
            loss = tf.reduce_sum(h)
        return h, tape.gradient(loss, ones)

    traced = tf.function(masked, jit_compile=True).get_concrete_function(SPEC)
    again, recomputed = planned(traced, 0.6)
    first, gradient = (t.numpy() for t in again(X))
    second = again(X)[0].numpy()
    return {
        "recomputed": recomputed,
        "same_mask": bool(np.array_equal(first != 0, gradient != 0)),
        "part": float((first != 0).mean()),
        "new_mask": not np.array_equal(first != 0, second != 0),
    }


def network() -> Any:
    model = keras.Sequential([keras.Input((16, 16, 3))])
    for _ in range(4):
        model.add(layers.Conv2D(8, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    model.add(layers.Dropout(0.3))
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(4))
    return model


def fit() -> dict[str, Any]:
    """Two epochs of a compiled model as Keras runs it, and within a budget."""
    generator = np.random.default_rng(0)
    x: Any = generator.normal(size=(16, 16, 16, 3)).astype("float32")
    y: Any = generator.integers(0, 4, 16)
    # Measured in this process, which takes less time; `asked` measures as users do.
    planner: Any = importlib.import_module("lowtide.training.compiled")
    planner.measure_xla = lambda function: assigned(program(function))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    runs: list[Any] = []
    steps: Any = None
    for budget in (None, 0.7):
        keras.utils.set_random_seed(3)
        model = network()
        if budget is None:
            model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], jit_compile=True)
        else:
            steps = lowtide.tensorflow.compile(
                model,
                keras.optimizers.SGD(0.1),
                loss,
                budget=budget,
                metrics=["accuracy"],
                profile=False,
                cache=False,
                jit_compile=True,
                **WORK,
            )
        history = model.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=False).history
        runs.append((history, [v.numpy() for v in model.variables]))
    plan = steps.functions[0].plan
    return {
        "close": all(
            np.allclose(a, b, 1e-4, 1e-5) for a, b in zip(runs[0][1], runs[1][1], strict=True)
        ),
        "same": all(np.array_equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True)),
        "history": all(np.allclose(v, runs[1][0][k], 1e-4) for k, v in runs[0][0].items()),
        "budget": plan.budget_bytes,
        "peak": plan.measured_peak_bytes,
        "before": plan.measured_before_bytes,
        "again": peak(steps.functions[0].concrete_function),
        "recomputed": plan.recomputed,
        "report": steps.report(),
    }


def asked() -> dict[str, Any]:
    """The public functions: with and without a budget, and what is refused."""
    options: dict[str, Any] = {"example_inputs": (SPEC,), "profile": False, "cache": False, **WORK}
    step = SEMANTICS["several_outputs"]
    compiled = tf.function(step, jit_compile=True)
    plain = lowtide.tensorflow.rematerialize(step, budget=None, jit_compile=True, **options)
    planner: Any = importlib.import_module("lowtide.training.compiled")
    planner.measure_xla = lambda function: assigned(program(function))
    within = lowtide.tensorflow.rematerialize(compiled, budget=0.75, **options)
    too_low = refused(lowtide.tensorflow.rematerialize, compiled, budget=1000, **options)

    def text(x: Any) -> Any:
        return tf.strings.to_number(tf.strings.as_string(x))

    return {
        "not": lowtide.tensorflow.rematerialize(
            compiled, budget=None, jit_compile=False, **options
        ).plan.jit_compile,
        "recomputed": plain.plan.recomputed,
        "measured": [plain.plan.measured_before_bytes, plain.plan.measured_peak_bytes],
        "peak": lowtide.tensorflow.measure_peak(plain),
        "within": [within.plan.measured_peak_bytes, within.plan.budget_bytes],
        "own": within.plan.jit_compile,
        "too_low": too_low,
        "round_trip": lowtide.tensorflow.TrainingPlan.from_dict(plain.plan.to_dict()) == plain.plan,
        "strings": refused(
            lowtide.tensorflow.rematerialize,
            tf.function(text, jit_compile=True),
            budget=0.5,
            **options,
        ),
        "order": refused(
            reemit_xla,
            compiled.get_concrete_function(SPEC),
            [op.name for op in import_function(compiled.get_concrete_function(SPEC)).ops][::-1],
        ),
    }


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
