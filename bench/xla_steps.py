"""Training steps that XLA compiles, within budgets of the buffers that it assigns on a CPU.

    python -m lowtide.bench.xla_steps --output bench/results/xla_steps [--only NAME ...]

A step is the forward pass, the loss, the gradients and Adam's updates, under `jit_compile=True`.
Budgets are parts of what XLA assigns to the step as it is; each network is planned for lower and
lower ones until one is not met. Costs are modelled, since plans are for bytes. The last row of a
network is the least that was found, not the least there is.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowtide.bench.protocol import end, markdown, one_core, write
from lowtide.bench.record import Measure
from lowtide.errors import BudgetNotMetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# TensorFlow and Keras have no stubs: their modules are loaded as values of any type.

__all__ = ["NETWORKS", "Row", "main", "measures", "rows_of", "table"]

_PARTS = (0.86, 0.75, 0.6, 0.5, 0.41)
_CLASSES = 10


@dataclass(frozen=True, slots=True)
class Row:
    """A network at a budget.

    Attributes:
        network: its name.
        part: the budget, as a part of `before_bytes`.
        before_bytes: what XLA assigns to the step as it is.
        after_bytes: to the planned one; None where the budget was not met.
        recomputed: how many ops run again.
        predicted_percent: more time, by the sum of modelled costs.
    """

    network: str
    part: float
    before_bytes: int
    after_bytes: int | None
    recomputed: int | None
    predicted_percent: float | None


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _convolutions() -> Any:
    """Twelve convolutions with batch normalisation."""
    layers: Any = _module("keras").layers
    x = start = layers.Input((32, 32, 3), batch_size=16)
    for _ in range(12):
        x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return start, layers.Dense(_CLASSES)(layers.GlobalAveragePooling2D()(x))


def _transformer() -> Any:
    """Four transformer blocks with dropout."""
    layers: Any = _module("keras").layers
    x = start = layers.Input((64, 64), batch_size=8)
    for _ in range(4):
        y = layers.MultiHeadAttention(4, 16, dropout=0.1)(x, x)
        x = layers.LayerNormalization()(layers.Add()([x, y]))
        y = layers.Dense(64)(layers.Dense(256, activation="relu")(x))
        x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.1)(y)]))
    return start, layers.Dense(_CLASSES)(layers.GlobalAveragePooling1D()(x))


def _resnet() -> Any:
    """Six residual blocks in three stages."""
    layers: Any = _module("keras").layers
    x = start = layers.Input((32, 32, 3), batch_size=16)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    for stage in range(3):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = layers.ReLU()(layers.BatchNormalization()(x))
            if stride > 1 or not (stage or block):
                x = layers.Conv2D(16 << stage, 1, strides=stride)(y)
            for step in (stride, 1):
                y = layers.Conv2D(16 << stage, 3, strides=step, padding="same", use_bias=False)(y)
                y = layers.ReLU()(layers.BatchNormalization()(y))
            x = layers.Add()([x, y])
    return start, layers.Dense(_CLASSES)(layers.GlobalAveragePooling2D()(x))


def _unet() -> Any:
    """A U-Net of two levels, with max pooling."""
    layers: Any = _module("keras").layers
    conv = partial(layers.Conv2D, kernel_size=3, padding="same", activation="relu")
    x = start = layers.Input((32, 32, 3), batch_size=8)
    skips: list[Any] = []
    for depth in range(2):
        x = conv(16 << depth)(conv(16 << depth)(x))
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = conv(64)(conv(64)(x))
    for depth in (1, 0):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skips[depth]])
        x = conv(16 << depth)(conv(16 << depth)(x))
    return start, layers.Conv2D(_CLASSES, 1)(x)


def _vgg() -> Any:
    """Eight convolutions in four stages, each with max pooling behind it."""
    layers: Any = _module("keras").layers
    x = start = layers.Input((32, 32, 3), batch_size=16)
    for stage in range(4):
        for _ in range(2):
            x = layers.Conv2D(32 << stage, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    return start, layers.Dense(_CLASSES)(layers.GlobalAveragePooling2D()(x))


NETWORKS: dict[str, Callable[[], Any]] = {
    "12 convolutions with batch normalisation": _convolutions,
    "4 transformer blocks with dropout": _transformer,
    "small ResNet": _resnet,
    "small U-Net": _unet,
    "small VGG": _vgg,
}


def _step(name: str) -> tuple[Any, tuple[Any, Any]]:
    """The step as a Python function, and the shapes of images and labels."""
    tf: Any = _module("tensorflow")
    keras: Any = _module("keras")
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Model(*NETWORKS[name]())
    optimizer = keras.optimizers.Adam(1e-3)
    weights = model.trainable_variables
    optimizer.build(weights)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        optimizer.apply_gradients(zip(tape.gradient(value, weights), weights, strict=True))
        return value

    images = tf.TensorSpec(model.input_shape, tf.float32)
    labels = tf.TensorSpec(tuple(model.output_shape[:-1]), tf.int32)
    return tf.function(step, autograph=False), (images, labels)


def rows_of(
    name: str, parts: Sequence[float] = _PARTS, *, time_limit_s: float = 8.0
) -> Iterator[Row]:
    """The network at lower and lower budgets, up to the first that is not met."""
    step, given = _step(name)
    plan: Any = partial(
        _module("lowtide.tensorflow").rematerialize,
        step,
        example_inputs=given,
        profile=False,
        cache=False,
        time_limit_s=time_limit_s,
        jit_compile=True,
    )
    before: int = plan(budget=None).plan.measured_before_bytes
    for part in parts:
        try:
            found = plan(budget=part).plan
        except BudgetNotMetError:
            yield Row(name, part, before, None, None, None)
            return
        after, percent = found.measured_peak_bytes, found.overhead_percent
        yield Row(name, part, before, after, found.recomputed, percent)


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """What XLA assigns to the planned steps, and predicted overheads."""
    for row in rows:
        if row.after_bytes is not None and row.predicted_percent is not None:
            who = f"at {row.part:g}"
            yield Measure(row.network, who, "peak", "bytes", row.after_bytes)
            yield Measure(row.network, who, "predicted overhead", "%", row.predicted_percent)


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    header = ["step", "budget", "XLA's buffers", "planned", "part", "recomputed", "predicted %"]
    lines: list[list[str]] = []
    for row in rows:
        cells = [row.network, f"{row.part:g}", f"{row.before_bytes:,}"]
        if row.after_bytes is None:
            cells += ["not met", "", "", ""]
        else:
            cells += [f"{row.after_bytes:,}", f"{row.after_bytes / row.before_bytes:.2f}"]
            cells += [str(row.recomputed), f"{row.predicted_percent:.1f}"]
        lines.append(cells)
    return markdown(header, lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=NETWORKS, metavar="NAME")
    parser.add_argument("--time-limit", type=float, default=8.0, help="of a search, in seconds")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    one_core()
    rows: list[Row] = []
    for name in options.only or NETWORKS:
        for row in rows_of(name, time_limit_s=options.time_limit):
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
        if options.output is not None:
            settings = {"time_limit_s": options.time_limit, "seed": 0}
            document = {"rows": [asdict(row) for row in rows]}
            write(options.output, table(rows), document, settings, measures=measures(rows))
    print(table(rows))
    return 0


if __name__ == "__main__":
    end(main)
