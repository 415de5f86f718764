"""Whole training steps of Checkmate's networks, at a scale that a desktop runs in about a second.

A step is the forward pass, the loss, the gradients and their application: the statistics of batch
normalisation, the seeds of dropout, the weights and the slots of SGD with momentum change.  Images
and batches are chosen such that activations are most of the peak, as they are at the paper's batch
sizes.  Where weights would be (the wide layers at VGG's end take 494 MB at the paper's resolution,
whatever the batch) the head is of the later kind: mean over the image, dropout, one layer.
"""

# TensorFlow and Keras have no stubs: their modules are loaded as values of any type.

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lowtide.bench.keras_networks import NETWORKS, fcn8, unet

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["STEPS", "Step", "blocks_of", "cuts_of", "step_of"]

_CLASSES = 10
_DROPOUT = 0.5


def _vgg(name: str, batch: int, size: int) -> Any:
    keras: Any = importlib.import_module("keras")
    inputs = keras.Input((size, size, 3), batch_size=batch)
    make = getattr(keras.applications, name)
    x = make(weights=None, input_tensor=inputs, include_top=False, pooling="avg").output
    return keras.Model(inputs, keras.layers.Dense(_CLASSES)(keras.layers.Dropout(_DROPOUT)(x)))


# Name -> how to build it for a batch and an image size, and both as used in the benchmark.
STEPS: dict[str, tuple[Callable[[int, int], Any], int, int]] = {
    "MobileNet": (NETWORKS["MobileNet"][0], 16, 160),
    "VGG16": (partial(_vgg, "VGG16"), 6, 96),
    "VGG19": (partial(_vgg, "VGG19"), 6, 96),
    "ResNet50": (NETWORKS["ResNet50"][0], 8, 128),
    "U-Net": (partial(unet, dropout=_DROPOUT), 2, 128),
    "SegNet": (NETWORKS["SegNet"][0], 2, 112),
    "FCN8": (partial(fcn8, dropout=_DROPOUT), 6, 96),
}

# Where a person would cut a network by the names of its layers; else by the kinds of its layers.
_CUTS = {
    "MobileNet": tuple(f"conv_pw_{i}_relu" for i in (2, 4, 6, 8, 10, 12)),
    "ResNet50": tuple(
        f"conv{stage}_block{block}_out"
        for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 2))
        for block in range(1, blocks + 1)
    ),
}


@dataclass(frozen=True)
class Step:
    """A traced step of concrete shapes.

    Attributes:
        function: the `ConcreteFunction` from images and labels to the loss, and the gradients where
            they are asked for.
        variables: of the model and the optimizer; a trace does not keep them.
        images: the shape.
        labels: the shape.
    """

    function: Any
    variables: list[Any]
    images: tuple[int, ...]
    labels: tuple[int, ...]

    def reset(self, values: list[Any]) -> None:
        """Give every variable its value back."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def values(self) -> list[Any]:
        """What the variables hold."""
        return [variable.numpy() for variable in self.variables]


def step_of(
    name: str,
    *,
    batch: int | None = None,
    size: int | None = None,
    forward: Callable[[Any], Callable[[Any], Any]] | None = None,
    gradients: bool = False,
) -> Step:
    """The whole step of a network.

    Args:
        name: of the network.
        batch: else the usual one.
        size: of the images' sides; else the usual one.
        forward: from the model to what computes its results of images; the model itself if None.
        gradients: hand them out, too.

    Raises:
        KeyError: there is no such network.
    """
    tf: Any = importlib.import_module("tensorflow")
    keras: Any = importlib.import_module("keras")
    build, usual_batch, usual_size = STEPS[name]
    keras.backend.clear_session()  # names count from the beginning
    keras.utils.set_random_seed(0)
    model = build(batch or usual_batch, size or usual_size)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    weights = model.trainable_variables
    optimizer.build(weights)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    run = partial(model, training=True) if forward is None else forward(model)

    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(y, run(x))
        found = tape.gradient(value, weights)
        optimizer.apply_gradients(zip(found, weights, strict=True))
        return (value, found) if gradients else value

    images = tf.TensorSpec(model.input_shape, tf.float32)
    labels = tf.TensorSpec(tuple(model.output_shape[:-1]), tf.int32)
    traced = tf.function(step, autograph=False).get_concrete_function(images, labels)
    variables = [*model.variables, *optimizer.variables]
    return Step(traced, variables, tuple(images.shape), tuple(labels.shape))


def cuts_of(name: str, model: Any) -> list[Any]:
    """The tensors that a person would keep, in order; what lies between is computed again.

    MobileNet: every other block; ResNet50: every block; VGG, SegNet, FCN8: what poolings make (of
    VGG not the last); U-Net: what is joined later; of the decoders, what is upsampled.
    """
    if name in _CUTS:
        return [model.get_layer(layer).output for layer in _CUTS[name]]
    found: list[Any] = []
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "MaxPooling2D":
            found.append(layer.input if name == "U-Net" else layer.output)
        elif kind == "UpSampling2D":
            found.append(layer.input)
    found = list({id(tensor): tensor for tensor in found}.values())
    return found[:-1] if name.startswith("VGG") else found


def _part(keras: Any, end: Any, cuts: list[Any]) -> tuple[Any, list[int]]:
    """The model from the nearest cuts (by their numbers) to a tensor."""
    number = {id(cut): k for k, cut in enumerate(cuts)}
    number.pop(id(end), None)
    needed: set[int] = set()
    seen = {id(end)}
    pending = [end]
    while pending:
        history = pending.pop()._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if not node.input_tensors:  # the images
            needed.add(0)
        for tensor in node.input_tensors:
            if id(tensor) in number:
                needed.add(number[id(tensor)])
            elif id(tensor) not in seen:
                seen.add(id(tensor))
                pending.append(tensor)
    reads = sorted(needed)
    return keras.Model([cuts[k] for k in reads], end), reads


def blocks_of(name: str) -> Callable[[Any], Callable[[Any], Any]]:
    """The model as blocks between its cuts under `tf.recompute_grad`.

    The last block, whose gradient is due at once, and one with dropout, whose seed is read and
    written inside, are not recomputed.
    """
    tf: Any = importlib.import_module("tensorflow")
    keras: Any = importlib.import_module("keras")

    def forward(model: Any) -> Callable[[Any], Any]:
        cuts = [model.input, *cuts_of(name, model)]
        parts = [_part(keras, end, cuts) for end in (*cuts[1:], model.output)]

        def block(part: Any) -> Any:
            def run(*given: Any) -> Any:
                tensors: list[Any] = list(given)
                return part(tensors if len(tensors) > 1 else tensors[0], training=True)

            random = any(type(layer).__name__ == "Dropout" for layer in part.layers)
            return run if random or part is parts[-1][0] else tf.recompute_grad(run)

        blocks = [(block(part), reads) for part, reads in parts]

        def run(x: Any) -> Any:
            values: list[Any] = [x]
            for call, reads in blocks:
                values.append(call(*(values[k] for k in reads)))
            return values[-1]

        return run

    return forward
