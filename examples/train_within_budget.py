"""From out of memory to training: a Keras model within the bytes that there are.

python examples/train_within_budget.py                  # a U-Net that needs more than it may
python examples/train_within_budget.py --memory 600MiB --batch 16 --size 128
"""

# Keras has no complete types:
# pyright: basic, reportArgumentType=false

from __future__ import annotations

import argparse

import keras
import numpy as np

import lowtide.tensorflow
from lowtide.units import format_bytes, parse_bytes


def network(size: int, filters: int) -> keras.Model:
    """Any Keras model; this one keeps the results of its way down for its way up."""
    x = image = keras.Input((size, size, 3))
    skips = []
    for depth in range(3):
        x = keras.layers.Conv2D(filters << depth, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        skips.append(x)
        x = keras.layers.MaxPooling2D()(x)
    for depth in (2, 1, 0):
        x = keras.layers.Concatenate()([keras.layers.UpSampling2D()(x), skips[depth]])
        x = keras.layers.Conv2D(filters << depth, 3, padding="same", activation="relu")(x)
    return keras.Model(image, keras.layers.Conv2D(4, 1)(x))


def main() -> None:
    """Say what a step needs, and train within what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", help="for a step, such as 2GiB; else 60 %% of what it needs")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--filters", type=int, default=16)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    images = random.normal(size=(2 * options.batch, options.size, options.size, 3)).astype("f")
    labels = random.integers(0, 4, (2 * options.batch, options.size, options.size))

    # From here on it is what any training script has; `budget` is what is new.
    model = network(options.size, options.filters)
    memory = parse_bytes(options.memory) if options.memory else 0.6
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = lowtide.tensorflow.compile(model, "adam", loss, budget=memory, metrics=["accuracy"])
    model.fit(images, labels, batch_size=options.batch, epochs=2, verbose=2)

    step = steps.functions[0]
    print(step.report())
    measured = lowtide.tensorflow.measure_peak(step)
    print(f"measured peak           {format_bytes(measured)} ({measured} bytes)")
    print(f"planned peak            {step.plan.peak_after_bytes} bytes")


if __name__ == "__main__":
    main()
