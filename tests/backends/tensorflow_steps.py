"""Training steps for tests: each builds variables and a function, the same ones every time."""

# TensorFlow and Keras have no stubs: their modules are loaded as values of any type.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownLambdaType=false

from __future__ import annotations

import importlib
from typing import Any

tf: Any = importlib.import_module("tensorflow")
keras: Any = importlib.import_module("keras")
layers: Any = keras.layers
CLASSES = 10


def vgg(batch: int | None = 4, size: int = 16, width: int = 8) -> Any:
    model = keras.Sequential([keras.Input((size, size, 3), batch_size=batch)])
    for stage, count in enumerate((2, 2, 3)):
        for _ in range(count):
            model.add(layers.Conv2D(width << stage, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    for layer in (layers.Flatten(), layers.Dense(32, activation="relu"), layers.Dropout(0.5)):
        model.add(layer)
    model.add(layers.Dense(CLASSES))
    return model


def resnet(batch: int | None = 4, size: int = 16, width: int = 8) -> Any:
    start = keras.Input((size, size, 3), batch_size=batch)
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(start)
    for stage in range(3):
        filters, stride = width << stage, 1 if stage == 0 else 2
        y = layers.ReLU()(layers.BatchNormalization()(x))
        short = x if stage == 0 else layers.Conv2D(filters, 1, strides=stride)(y)
        y = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        x = layers.Add()([y, short])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(start, layers.Dense(CLASSES)(x))


def unet(batch: int | None = 2, size: int = 16, width: int = 8) -> Any:
    start = keras.Input((size, size, 3), batch_size=batch)

    def convolve(x: Any, filters: int) -> Any:
        x = layers.Conv2D(filters, 3, padding="same")(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    x, skips = start, []
    for stage in range(2):
        x = convolve(convolve(x, width << stage), width << stage)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = convolve(x, width << 2)
    for stage in (1, 0):
        x = layers.Conv2DTranspose(width << stage, 2, strides=2)(x)
        x = convolve(layers.Concatenate()([x, skips[stage]]), width << stage)
    return keras.Model(start, layers.Conv2D(CLASSES, 1)(x))


MODELS = {"vgg": vgg, "resnet": resnet, "unet": unet}


class Step:
    """A training step with its variables; `reset` puts them back to what they were."""

    def __init__(self, name: str, optimizer: str) -> None:
        keras.utils.set_random_seed(7)
        self.model = MODELS[name]()
        self.optimizer: Any = (
            keras.optimizers.Adam(1e-3)
            if optimizer == "adam"
            else keras.optimizers.SGD(0.05, momentum=0.9)
        )
        self.optimizer.build(self.model.trainable_variables)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

        @tf.function
        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                value = loss(y, self.model(x, training=True))
            variables = self.model.trainable_variables
            gradients = tape.gradient(value, variables)
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return value, gradients[0]

        self.function = step
        keras.utils.set_random_seed(8)
        shape = self.model.output_shape[:-1]
        self.x = tf.random.normal(self.model.input_shape)
        self.y = tf.random.uniform(shape, 0, CLASSES, tf.int32)
        self.variables = [*self.model.variables, *self.optimizer.variables]
        self._initial = [v.numpy() for v in self.variables]

    def reset(self) -> None:
        for variable, value in zip(self.variables, self._initial, strict=True):
            variable.assign(value)

    def three(self, function: Any) -> list[Any]:
        """Results of three steps from the start, and all variables after them."""
        self.reset()
        found: list[Any] = []
        for _ in range(3):
            found += [t.numpy() for t in function(self.x, self.y)]
        return found + [v.numpy() for v in self.variables]
