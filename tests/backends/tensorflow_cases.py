"""Cases of the TensorFlow tests; run as a script in a process of its own, they print JSON."""

# TensorFlow and Keras have no stubs: their modules are loaded as values of any type.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownLambdaType=false

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from tensorflow_steps import Step, resnet

import lowtide.tensorflow
from lowtide.backends.tensorflow.profile import known_operand
from lowtide.backends.tensorflow.reemit import reemit
from lowtide.errors import LowtideError
from lowtide.frontends.tensorflow import import_function

tf: Any = importlib.import_module("tensorflow")
keras: Any = importlib.import_module("keras")
ROWS, WIDTH = 256, 32
WEIGHTS = [tf.Variable(tf.random.stateless_normal((WIDTH, WIDTH), (i, 1)) * 0.2) for i in range(6)]
SUMS = [tf.Variable(tf.zeros_like(w)) for w in WEIGHTS]
COUNT = tf.Variable(0)
VARIABLES = [*WEIGHTS, *SUMS, COUNT]
X = tf.random.stateless_normal((ROWS, WIDTH), (1, 2))
SPEC = tf.TensorSpec((ROWS, WIDTH))
# Plans do not depend on how busy the machine is.
WORK: dict[str, Any] = {"time_limit_s": None, "work_limit": 30_000_000}


def same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(
        np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(left, right, strict=True)
    )


def refused(function: Any, *args: object, **kwargs: object) -> str:
    try:
        function(*args, **kwargs)
    except LowtideError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def chain(x: Any, activation: Any = tf.nn.tanh) -> Any:
    for weight in WEIGHTS:
        x = activation(tf.matmul(x, weight)) * 1.1
    return x


def descend(loss_of: Any) -> Any:
    with tf.GradientTape() as tape:
        loss = loss_of()
    gradients = tape.gradient(loss, WEIGHTS)
    for weight, gradient in zip(WEIGHTS, gradients, strict=True):
        weight.assign_sub(0.1 * gradient)
    return loss, gradients[2]


def several_outputs(x: Any) -> Any:
    loss, gradient = descend(lambda: tf.reduce_mean(chain(x) ** 2))
    return {"loss": loss, "x": x, "constant": tf.constant(3.0), "more": (gradient, None)}


def stateful_dropout(x: Any) -> Any:
    return descend(
        lambda: tf.reduce_mean(chain(x, lambda h: tf.nn.tanh(tf.nn.dropout(h, 0.3, seed=5))) ** 2)
    )


def branch(x: Any) -> Any:
    COUNT.assign_add(1)

    def loss() -> Any:
        h = chain(x)
        h = tf.cond(COUNT % 2 == 0, lambda: h * 2.0, lambda: tf.nn.relu(h))
        return tf.reduce_mean(chain(h) ** 2)

    return descend(loss)


def loop(x: Any) -> Any:
    def loss() -> Any:
        _, h = tf.while_loop(
            lambda i, h: i < 3, lambda i, h: (i + 1, tf.nn.tanh(h @ WEIGHTS[0])), (0, chain(x))
        )
        return tf.reduce_mean(chain(h) ** 2)

    return descend(loss)


@tf.custom_gradient
def clipped(x: Any) -> Any:
    return tf.sin(x) * 2.0, lambda upstream: upstream * tf.clip_by_value(x, -1.0, 1.0)


def custom_gradient(x: Any) -> Any:
    return descend(lambda: tf.reduce_mean(chain(x, clipped) ** 2))


def counted(x: Any) -> Any:
    COUNT.assign_add(1)
    return x * tf.cast(COUNT, tf.float32)


BLOCK = tf.function(lambda x, weight: tf.nn.tanh(tf.matmul(x, weight)) * 1.1)
COUNTED = tf.function(counted)


def nested(x: Any) -> Any:
    """Functions that call functions, with effects inside."""

    def loss() -> Any:
        h = x
        for weight in WEIGHTS:
            h = BLOCK(h, weight)
        h = COUNTED(h) + tf.cast(COUNT, tf.float32)
        return tf.reduce_mean(chain(COUNTED(h)) ** 2)

    return descend(loss)


def accumulate(x: Any) -> Any:
    losses = []
    for part in tf.split(x, 2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(chain(part) ** 2)
        for total, gradient in zip(SUMS, tape.gradient(loss, WEIGHTS), strict=True):
            total.assign_add(gradient)
        losses.append(loss)
    for weight, total in zip(WEIGHTS, SUMS, strict=True):
        weight.assign_sub(0.1 * total)
        total.assign(tf.zeros_like(total))
    return tf.stack(losses)


def reads_around(x: Any) -> Any:
    """Values that were read before an assignment are used, and handed out, after it."""
    before = WEIGHTS[0].read_value()
    h = chain(x)
    WEIGHTS[0].assign(before * 2.0)
    after = WEIGHTS[0].read_value()
    h = chain(h)
    WEIGHTS[0].assign(before + after)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(chain(x + h) ** 2)
    return loss, tape.gradient(loss, WEIGHTS[0]), h @ before, before


STEPS = (several_outputs, stateful_dropout, branch, loop, custom_gradient, nested)
SEMANTICS = {f.__name__: f for f in (*STEPS, accumulate, reads_around)}


def three(function: Any, initial: list[Any]) -> list[Any]:
    for variable, value in zip(VARIABLES, initial, strict=True):
        variable.assign(value)
    tf.random.set_seed(1)
    found: list[Any] = []
    for _ in range(3):
        found += [t.numpy() for t in tf.nest.flatten(function(X)) if t is not None]
    return found + [v.numpy() for v in VARIABLES]


def semantics() -> dict[str, Any]:
    """Per step: whether results equal those of the baseline, and what was recomputed."""
    initial = [v.numpy() for v in VARIABLES]
    options: dict[str, Any] = {"profile": False, "cache": False, **WORK}
    found: dict[str, Any] = {}
    for name, function in SEMANTICS.items():
        tf.random.set_seed(1)
        traced = tf.function(function).get_concrete_function(SPEC)
        plain = lowtide.tensorflow.rematerialize(traced, budget=None, **options)
        planned = lowtide.tensorflow.rematerialize(traced, budget=0.65, **options)
        results: Any = planned(X)
        found[name] = {
            "same": same(three(plain, initial), three(planned, initial)),
            "keys": sorted(results) if name == "several_outputs" else [],
            "recomputed": planned.plan.recomputed,
            "peak": planned.plan.peak_after_bytes,
            "budget": planned.plan.budget_bytes,
        }
        if name == "loop":
            again = lowtide.tensorflow.rematerialize(traced, budget=0.65, measure=True, **options)
            found[name]["measured"] = again.plan.measured_peak_bytes
            found[name]["again"] = same(three(plain, initial), three(again, initial))
        if name in ("accumulate", "reads_around"):
            found[name]["measured"] = lowtide.tensorflow.measure_peak(planned)
    return found


def networks() -> dict[str, Any]:
    """Per network: three steps as planned and as the baseline; predicted and measured peaks."""
    found: dict[str, Any] = {}
    for name, optimizer in (("vgg", "momentum"), ("resnet", "adam"), ("unet", "adam")):
        step = Step(name, optimizer)
        example = (step.x, step.y)
        options: dict[str, Any] = {"example_inputs": example, **WORK}
        plain = lowtide.tensorflow.rematerialize(step.function, budget=None, **options)
        planned = lowtide.tensorflow.rematerialize(step.function, budget=0.7, **options)
        with tempfile.TemporaryDirectory() as folder:
            page = planned.draw(Path(folder, "step.html")).read_text()
        found[name] = {
            "page": all(
                text in page
                for text in (
                    "budget met",
                    "How the solvers got there",
                    "There is no arena: TensorFlow",
                    f"{planned.plan.peak_before_bytes:,} bytes at step",
                    f"{planned.plan.peak_after_bytes:,} bytes at step",
                )
            ),
            "same": same(step.three(plain), step.three(planned)),
            "trained": not same(step.three(plain), [v.numpy() for v in step.variables]),
            "before": plain.plan.peak_after_bytes,
            "budget": planned.plan.budget_bytes,
            "predicted": planned.plan.peak_after_bytes,
            "measured": lowtide.tensorflow.measure_peak(planned),
            "recomputed": planned.plan.recomputed,
            "report": planned.report(),
            "trainable": planned.plan.variables_bytes,
            "weights": sum(v.numpy().nbytes for v in step.model.trainable_variables),
        }
    return found


def keras_fit() -> dict[str, Any]:
    """Three epochs with and without a budget."""
    generator = np.random.default_rng(0)
    x: Any = generator.normal(size=(20, 16, 16, 3)).astype("float32")
    y: Any = generator.integers(0, 10, 20)
    runs: list[Any] = []
    reports: list[str] = []
    steps: Any = None
    baseline: Any = None
    for budget in (None, 0.46):
        baseline = steps
        keras.utils.set_random_seed(3)
        model = resnet(batch=None)
        steps = lowtide.tensorflow.compile(
            model,
            keras.optimizers.Adam(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            budget=budget,
            metrics=["accuracy"],
            profile=False,
            cache=False,
            **WORK,
        )
        history = model.fit(
            x,
            y,
            batch_size=8,
            epochs=3,
            verbose=0,
            class_weight={i: 1.0 + 0.1 * i for i in range(10)},
            validation_data=(x[:8], y[:8]),
            callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3 * 0.5**epoch)],
        )
        runs.append((history.history, [v.numpy() for v in model.variables]))
        runs[-1][1].extend(v.numpy() for v in model.optimizer.variables)
        reports.append(steps.report())
    peaks = [f.plan.peak_after_bytes for f in steps.functions]
    first = steps.functions[0]
    return {
        "measured": lowtide.tensorflow.measure_peak(first),
        "measured_before": lowtide.tensorflow.measure_peak(baseline.functions[0]),
        "same_history": runs[0][0] == runs[1][0],
        "same_variables": same(runs[0][1], runs[1][1]),
        "keys": sorted(runs[1][0]),
        "peaks": peaks,
        "budgets": [f.plan.budget_bytes for f in steps.functions],
        "before": steps.functions[0].plan.peak_before_bytes,
        "reports": reports,
    }


def refusals() -> dict[str, Any]:
    """Messages of what is refused, and errors of sequences that are wrong."""
    lt = lowtide.tensorflow
    step = tf.function(several_outputs)
    options: dict[str, Any] = {"example_inputs": (SPEC,), "profile": False, "cache": False}
    traced = tf.function(stateful_dropout).get_concrete_function(SPEC)
    names = [op.name for op in import_function(traced).ops]
    random = next(n for n in names if "RandomUniform" in n)
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        distributed = refused(lt.rematerialize, step, budget=0.5, **options)
    mirrored = tf.distribute.MirroredStrategy(["/cpu:0"])
    with mirrored.scope():
        variable = tf.Variable(1.0)
    traced_apart = tf.function(lambda x: x * variable).get_concrete_function(SPEC)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    unknown = (tf.TensorSpec((None, WIDTH)),)
    return {
        "distributed": distributed,
        "mirrored": refused(lt.rematerialize, traced_apart, budget=0.5, profile=False),
        "keras_eager": refused(lt.compile, model, "sgd", "mse", budget=0.5, run_eagerly=True),
        "keras_steps": refused(lt.compile, model, "sgd", "mse", budget=0.5, steps_per_execution=4),
        "unknown": refused(lt.rematerialize, step, budget=0.5, example_inputs=unknown),
        "no_example": refused(lt.rematerialize, step, budget=0.5),
        "infeasible": refused(lt.rematerialize, step, budget=1000, **WORK, **options),
        "ratio": refused(lt.rematerialize, step, budget=1.5, **options),
        "size": refused(lt.rematerialize, step, budget="much", **options),
        "twice": refused(reemit, traced, [*names, random]),
        "missing": refused(reemit, traced, [n for n in names if n != random]),
        "backwards": refused(reemit, traced, names[::-1]),
        "stranger": refused(reemit, traced, [*names, "nobody"]),
        "sound": refused(reemit, traced, names),
    }


def sizes() -> dict[str, Any]:
    """Per op whose operand is the size of its result: what the profile gives it, and the result."""

    def step(x: Any, kernel: Any, deep: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((x, kernel, deep))
            y = tf.nn.conv2d(x, kernel, 2, "SAME")
            y = tf.nn.depthwise_conv2d(y, deep, (1, 1, 1, 1), "SAME")
            value = tf.reduce_sum(tf.reduce_mean(y, (1, 2)) ** 2)
        return tape.gradient(value, (x, kernel, deep))

    specs = [tf.TensorSpec(s) for s in ((2, 8, 8, 3), (3, 3, 3, 4), (3, 3, 4, 1))]
    traced = tf.function(step).get_concrete_function(*specs)
    found: dict[str, Any] = {}
    for op in traced.graph.get_operations():
        index = {"Tile": 1}.get(op.type, 1 if op.type.endswith("Filter") else 0)
        if "Backprop" in op.type or op.type == "Tile":
            given: Any = known_operand(op, index)
            times = op.inputs[0].shape if op.type == "Tile" else [1] * len(given)
            given = [int(a) * int(b) for a, b in zip(given, times, strict=True)]
            found[op.type] = [given, op.outputs[0].shape.as_list()]
    return found


def planning() -> dict[str, Any]:
    """Devices, plans from the disk, and Grappler's options after a call."""
    context: Any = importlib.import_module("tensorflow.python.eager.context")

    def placed(x: Any) -> Any:
        with tf.device("/cpu:0"):
            return descend(lambda: tf.reduce_mean(chain(x) ** 2))

    def away(x: Any) -> Any:
        with tf.device("/gpu:1"):  # not there; a device is a string of the graph until it runs
            return tf.nn.relu(x @ x)

    elsewhere = tf.function(away).get_concrete_function(tf.TensorSpec((8, 8)))
    moved: Any = reemit(elsewhere, [op.name for op in import_function(elsewhere).ops])
    traced = tf.function(placed).get_concrete_function(SPEC)
    options: dict[str, Any] = {"budget": 0.6, "profile": False, **WORK}
    first = lowtide.tensorflow.rematerialize(traced, **options)
    before = context.context().function_call_options.as_attrs()
    again = lowtide.tensorflow.rematerialize(traced, **options)
    again(X)
    emitted: Any = again.concrete_function.graph
    return {
        "gpu": sorted({op.device for op in moved.graph.get_operations() if op.type == "MatMul"}),
        "cpu": sorted({o.device for o in emitted.get_operations() if o.type == "MatMul"}),
        "same_plan": first.plan == again.plan,
        "restored": before == context.context().function_call_options.as_attrs(),
        "round_trip": lowtide.tensorflow.TrainingPlan.from_dict(first.plan.to_dict()) == first.plan,
    }


def updates() -> dict[str, Any]:
    """A step whose gradients, not its activations, are what it needs memory for."""
    wide = [tf.Variable(tf.random.stateless_normal((128, 128), (i, 1)) * 0.1) for i in range(8)]
    speeds = [tf.Variable(tf.zeros_like(w), trainable=False) for w in wide]

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            h = x
            for weight in wide:
                h = tf.nn.tanh(tf.matmul(h, weight))
            loss = tf.reduce_mean(h * h)
        gradients = tf.identity_n(tape.gradient(loss, wide))
        for weight, speed, gradient in zip(wide, speeds, gradients, strict=True):
            speed.assign(0.9 * speed + gradient)
            weight.assign_sub(0.1 * speed)
        return loss

    initial = [v.numpy() for v in (*wide, *speeds)]
    x = tf.random.stateless_normal((4, 128), (1, 2))
    traced = tf.function(step).get_concrete_function(tf.TensorSpec((4, 128)))
    options: dict[str, Any] = {"profile": False, "cache": False, **WORK}
    found: list[list[Any]] = []
    planned: Any = None
    for budget in (None, 0.6):
        planned = lowtide.tensorflow.rematerialize(traced, budget=budget, **options)
        for variable, value in zip((*wide, *speeds), initial, strict=True):
            variable.assign(value)
        losses = [planned(x).numpy() for _ in range(3)]
        found.append([*losses, *(v.numpy() for v in (*wide, *speeds))])
    return {
        "same": same(*found),
        "recomputed": planned.plan.recomputed,
        "before": planned.plan.peak_before_bytes,
        "predicted": planned.plan.peak_after_bytes,
        "measured": lowtide.tensorflow.measure_peak(planned),
    }


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
