"""The networks of Checkmate's experiments, built with Keras at a small scale, as training steps.

A step is the forward pass, the loss and the gradients of all weights, traced by TensorFlow and
imported by `lowtide.frontends.tensorflow`.  Weights are random; sizes are small, so that a desktop
can also run them.
"""

# TensorFlow and Keras have no stubs: their modules are loaded as values of any type.

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NETWORKS", "fcn8", "training_step", "unet"]

_CLASSES = 10


def _keras() -> Any:
    return importlib.import_module("keras")


def _application(name: str) -> Callable[[int, int], Any]:
    def build(batch: int, size: int) -> Any:
        keras = _keras()
        inputs = keras.Input((size, size, 3), batch_size=batch)
        make = getattr(keras.applications, name)
        return make(weights=None, input_tensor=inputs, classes=_CLASSES, classifier_activation=None)

    return build


def unet(batch: int, size: int, *, dropout: float = 0.0) -> Any:
    """The contracting path of VGG16 and its mirror, joined by concatenation.

    With `dropout` as in the original: behind the deepest layers of the contracting path.
    """
    keras = _keras()
    layers = keras.layers
    x = start = keras.Input((size, size, 3), batch_size=batch)
    joined: list[Any] = []
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3)):
        for _ in range(count):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        joined.append(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(512, 3, padding="same", activation="relu")(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    for filters, skip in zip((256, 128, 64, 64), reversed(joined), strict=True):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return keras.Model(start, layers.Conv2D(_CLASSES, 1)(x))


def _segnet(batch: int, size: int) -> Any:
    """An encoder like VGG16 with batch normalisation, and a decoder that upsamples."""
    keras = _keras()
    layers = keras.layers
    x = start = keras.Input((size, size, 3), batch_size=batch)

    def convolve(x: Any, filters: int) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    for filters, count in ((64, 2), (128, 2), (256, 3)):
        for _ in range(count):
            x = convolve(x, filters)
        x = layers.MaxPooling2D()(x)
    for filters, count in ((256, 3), (128, 2), (64, 2)):
        x = layers.UpSampling2D()(x)
        for _ in range(count):
            x = convolve(x, filters)
    return keras.Model(start, layers.Conv2D(_CLASSES, 1)(x))


def fcn8(batch: int, size: int, *, dropout: float = 0.0) -> Any:
    """VGG16's convolutions; scores of three depths, upsampled and added.

    With `dropout` as in the original: behind each of the two wide layers.
    """
    keras = _keras()
    layers = keras.layers
    x = start = keras.Input((size, size, 3), batch_size=batch)
    pooled: list[Any] = []
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
        pooled.append(x)
    for _ in range(2):
        x = layers.Conv2D(1024, 1, activation="relu")(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    x = layers.Conv2D(_CLASSES, 1)(x)
    for depth in (3, 2):
        x = layers.Conv2DTranspose(_CLASSES, 4, strides=2, padding="same")(x)
        x = layers.Add()([x, layers.Conv2D(_CLASSES, 1)(pooled[depth])])
    x = layers.Conv2DTranspose(_CLASSES, 16, strides=8, padding="same")(x)
    return keras.Model(start, x)


# Name -> how to build it for a batch and an image size, and both as used in the benchmarks.
NETWORKS: dict[str, tuple[Callable[[int, int], Any], int, int]] = {
    "MobileNet": (_application("MobileNet"), 8, 96),
    "VGG16": (_application("VGG16"), 4, 64),
    "VGG19": (_application("VGG19"), 4, 64),
    "ResNet50": (_application("ResNet50"), 4, 64),
    "U-Net": (unet, 2, 64),
    "SegNet": (_segnet, 2, 64),
    "FCN8": (fcn8, 2, 96),
}


def _plain(model: Any) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        return model(x, training=True)

    return run


def training_step(
    name: str,
    *,
    batch: int | None = None,
    size: int | None = None,
    forward: Callable[[Any], Callable[[Any], Any]] | None = None,
) -> Any:
    """The traced step of a network: its loss and the gradients of its weights.

    Args:
        name: of the network.
        batch: else the usual one.
        size: of the images' sides; else the usual one.
        forward: from the model to what computes its results of images; the model itself if None.

    Raises:
        KeyError: there is no such network.
    """
    tf: Any = importlib.import_module("tensorflow")
    keras = _keras()
    build, usual_batch, usual_size = NETWORKS[name]
    keras.utils.set_random_seed(0)
    model = build(batch or usual_batch, size or usual_size)
    run = _plain(model) if forward is None else forward(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(y, run(x))
        return value, tape.gradient(value, model.trainable_variables)

    images = tf.TensorSpec(model.input_shape, tf.float32)
    labels = tf.TensorSpec(tuple(model.output_shape[:-1]), tf.int32)
    traced = tf.function(step).get_concrete_function(images, labels)
    traced.model = model  # a trace does not keep the variables that it refers to
    return traced
