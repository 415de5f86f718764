"""What Keras users do beside plain fitting; run as a script, the cases print JSON.

Each case trains twice, as the baseline and within a budget, and compares history and variables.
"""

# TensorFlow and Keras have no stubs: their modules are loaded as values of any type.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownLambdaType=false

from __future__ import annotations

import importlib
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import lowtide.tensorflow
from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Callable

tf: Any = importlib.import_module("tensorflow")
keras: Any = importlib.import_module("keras")
layers: Any = keras.layers
ROWS, CLASSES = 12, 4
GENERATOR = np.random.default_rng(0)
X: Any = GENERATOR.normal(size=(ROWS, 8, 8, 3)).astype("float32")
WORDS: Any = GENERATOR.normal(size=(ROWS, 8, 8)).astype("float32")
Y: Any = GENERATOR.integers(0, CLASSES, ROWS)
# Plans do not depend on how busy the machine is.
PLAIN: dict[str, Any] = {
    "profile": False,
    "cache": False,
    "time_limit_s": None,
    "work_limit": 30_000_000,
}


def images() -> Any:
    model = keras.Sequential([keras.Input((8, 8, 3))])
    for _ in range(2):
        model.add(layers.Conv2D(8, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    for layer in (layers.Dropout(0.3), layers.GlobalAveragePooling2D()):
        model.add(layer)
    model.add(layers.Dense(CLASSES, dtype="float32"))
    return model


def halves() -> Any:
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return images()
    finally:
        keras.mixed_precision.set_global_policy("float32")


def sequences() -> Any:
    start = keras.Input((8, 8))
    x = layers.MultiHeadAttention(2, 4, dropout=0.1)(start, start)
    x = layers.LayerNormalization()(layers.Add()([x, start]))
    x = layers.LSTM(8, return_sequences=True)(x)
    return keras.Model(start, layers.Dense(CLASSES)(layers.Flatten()(x)))


def loss() -> Any:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def adam(**options: Any) -> Any:
    return keras.optimizers.Adam(1e-3, **options)


def fitted(model: Any, x: Any = X) -> Any:
    weights = np.linspace(0.1, 2.0, ROWS)
    return model.fit(x, Y, batch_size=8, epochs=2, verbose=0, sample_weight=weights).history


def both(
    build: Callable[[], Any], optimizer: Callable[[], Any], use: Callable[[Any], Any] = fitted
) -> dict[str, Any]:
    runs: list[tuple[str, list[Any]]] = []
    steps: Any = None
    for budget in (None, 0.75):
        keras.utils.set_random_seed(5)
        model = build()
        steps = lowtide.tensorflow.compile(
            model, optimizer(), loss(), budget=budget, metrics=["accuracy"], **PLAIN
        )
        history = use(model)
        variables = [*model.variables, *model.optimizer.variables]
        runs.append((str(history), [v.numpy() for v in variables]))
    return {
        "history": runs[0][0] == runs[1][0],
        "variables": all(
            a.tobytes() == b.tobytes() for a, b in zip(*(r[1] for r in runs), strict=True)
        ),
        "recomputed": steps.functions[0].plan.recomputed if steps.functions else 0,
    }


def accumulated() -> dict[str, Any]:
    options = {"gradient_accumulation_steps": 2, "global_clipnorm": 0.5, "weight_decay": 0.01}
    options.update(use_ema=True, ema_overwrite_frequency=2)
    return both(images, lambda: adam(**options))


def overflow() -> dict[str, Any]:
    """A loss scale so large that the first steps are skipped."""
    return both(halves, lambda: keras.optimizers.LossScaleOptimizer(adam(), initial_scale=2.0**40))


def attention() -> dict[str, Any]:
    return both(sequences, adam, lambda model: fitted(model, WORDS))


def batches() -> dict[str, Any]:
    """A data set that ends by itself, single batches, and evaluation in between."""

    def use(model: Any) -> Any:
        data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).filter(lambda _x, _y: True)
        data = data.map(lambda x, y: (x, y, tf.ones_like(y, tf.float32)))
        found = [model.train_on_batch(X[:8], Y[:8], return_dict=True)]
        for x, y, w in data:
            found.append(model.train_on_batch(x, y, sample_weight=w, return_dict=True))
            found.append(model.evaluate(X, Y, verbose=0, return_dict=True))
        return found

    return both(images, adam, use)


def saved() -> dict[str, Any]:
    """A trained model is saved, loaded, and trained on."""
    same: list[bool] = []

    def use(model: Any) -> Any:
        history = fitted(model)
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "model.keras"))
            model.save(path)
            again = keras.models.load_model(path)
        same.append(np.array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0)))
        again.fit(X, Y, verbose=0)
        return history, fitted(model)

    return {**both(images, adam, use), "loaded": all(same)}


def compiled_again() -> dict[str, Any]:
    """Another optimizer, and a layer that is frozen: nothing of the old step is left."""
    keras.utils.set_random_seed(5)
    model = images()
    steps = lowtide.tensorflow.compile(model, adam(), loss(), budget=0.75, **PLAIN)
    fitted(model)
    planned = steps.functions[0]
    model.compile(keras.optimizers.SGD(0.0), loss())
    before = [v.numpy() for v in model.trainable_variables]
    fitted(model)
    still = all(
        np.array_equal(a, b) for a, b in zip(before, model.trainable_variables, strict=True)
    )
    model.layers[0].trainable = False
    model.compile(keras.optimizers.SGD(0.5), loss())
    frozen, moving = model.layers[0].kernel.numpy(), model.layers[3].kernel.numpy()
    fitted(model)
    return {
        "still": still,
        "frozen": np.array_equal(frozen, model.layers[0].kernel),
        "moved": not np.array_equal(moving, model.layers[3].kernel),
        "anew": steps.functions[0] is not planned,
        "part": steps.functions[0].plan.budget_bytes
        == int(0.75 * steps.functions[0].plan.peak_before_bytes),
    }


class Optional(keras.Model):  # type: ignore[misc]
    """A model with an input that may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = images()

    def call(self, x: Any, training: bool = False) -> Any:
        """Only the first."""
        assert x["more"] is None
        return self.inner(x["x"], training=training)


def left_out() -> dict[str, Any]:
    def use(model: Any) -> Any:
        return model.fit({"x": X, "more": None}, Y, batch_size=8, verbose=0).history

    return both(Optional, adam, use)


def refusals() -> dict[str, Any]:
    """Batches whose size depends on data."""
    found: dict[str, Any] = {}
    for name, x in (
        ("ragged", tf.ragged.constant([[1.0, 2.0], [3.0]] * 4)),
        ("sparse", tf.sparse.from_dense(tf.eye(8))),
    ):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(CLASSES)])
        lowtide.tensorflow.compile(model, adam(), loss(), budget=0.75, **PLAIN)
        try:
            model.train_function = None
            model.make_train_function()(iter([(x, Y[:8])]))
            found[name] = ""
        except LowtideError as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def random_program(seed: int, weights: list[Any]) -> Callable[[Any], Any]:
    def program(x: Any) -> Any:
        choices = random.Random(seed)
        kept: list[Any] = [x]
        results: list[Any] = []
        with tf.GradientTape() as tape:
            tape.watch(x)
            for _ in range(16):
                weight = choices.choice(weights)
                what = choices.randrange(8)
                if what == 0:
                    weight.assign(weight * 0.5 + tf.reduce_mean(choices.choice(kept)) * 0.1)
                elif what == 1:
                    weight.assign_add(tf.matmul(kept[-1], kept[-1], transpose_a=True) * 1e-3)
                elif what == 2:
                    results.append(weight.read_value())
                else:
                    read = choices.choice([*results, weight]) if what == 3 else weight
                    kept.append(tf.tanh(tf.matmul(choices.choice(kept[-2:]), read)) * 1.1)
            loss = tf.reduce_sum(kept[-1] ** 2)
        gradient, *others = tape.gradient(loss, [x, *weights], unconnected_gradients="zero")
        weights[0].assign_sub(1e-3 * others[0])
        return loss, gradient, weights[0].read_value(), results

    return program


def programs() -> dict[str, Any]:
    """Random programs that read, assign and multiply: planned, emitted for XLA, and eagerly."""
    from lowtide.backends.tensorflow.reemit import reemit
    from lowtide.backends.tensorflow.reemit_xla import reemit_xla
    from lowtide.training.planned import Settings
    from lowtide.training.step_graph import StepGraph

    x = tf.random.stateless_normal((256, 8), (1, 2))
    found: dict[str, Any] = {}
    for seed in range(4):
        weights = [tf.Variable(tf.random.stateless_normal((8, 8), (seed, i))) for i in range(3)]
        initial = [w.numpy() for w in weights]
        program = random_program(seed, weights)

        def state(function: Any, weights: list[Any] = weights, initial: list[Any] = initial) -> Any:
            for weight, value in zip(weights, initial, strict=True):
                weight.assign(value)
            answers = [t.numpy() for _ in range(2) for t in tf.nest.flatten(function(x))]
            return answers + [w.numpy() for w in weights]

        traced = tf.function(program).get_concrete_function(tf.TensorSpec((256, 8)))
        plan = StepGraph(traced, Settings(budget=0.5, **PLAIN), scratch=False)
        tight = plan.plan(plan.before_bytes // 3, closest=True)
        plain = lowtide.tensorflow.rematerialize(traced, budget=None, **PLAIN)
        planned = lowtide.tensorflow.PlannedFunction(reemit(traced, tight.sequence), tight)
        eager, base = state(program), state(plain)
        again = state(planned)
        compiled = state(tf.function(program, jit_compile=True, autograph=False))
        apart = state(reemit_xla(traced, tight.sequence))
        found[str(seed)] = {
            "same": all(a.tobytes() == b.tobytes() for a, b in zip(base, again, strict=True)),
            "eager": all(np.allclose(a, b, 1e-4, 1e-5) for a, b in zip(eager, base, strict=True)),
            "compiled": all(
                np.allclose(a, b, 1e-5, 1e-6) for a, b in zip(compiled, apart, strict=True)
            ),
            "recomputed": tight.recomputed,
        }
    return found


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
