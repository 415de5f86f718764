"""Networks of `edge_models.py` as int8 TFLite models, by TensorFlow in a child process.

Everything is int8, inputs and outputs too: what TFLite Micro's kernels take.
"""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lowtide import child
from lowtide.bench.edge_models import Layer, Network
from lowtide.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["convert", "convert_here"]

_TIMEOUT_S = 600.0
_CALIBRATION_IMAGES = 4


def convert(network: Network) -> bytes:
    """The network as the bytes of a .tflite file.

    Raises:
        MissingExtraError: TensorFlow is not installed.
        ChildError: TensorFlow failed.
    """
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        path = Path(folder, "model.tflite")
        request = {"network": asdict(network), "path": str(path)}
        child.run("lowtide.bench.edge_convert:convert_here", request, timeout_s=_TIMEOUT_S)
        return path.read_bytes()


def convert_here(request: dict[str, Any]) -> dict[str, object]:
    """The child's side: write the model to `path`."""
    try:
        tf: Any = importlib.import_module("tensorflow")
    except ImportError as error:
        raise MissingExtraError(
            f'TensorFlow is missing ({error}): pip install "lowtide[tensorflow]"'
        ) from None
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    described = request["network"]
    layers = [_layer(entry) for entry in described["layers"]]
    random = np.random.default_rng(described["seed"])
    weights = [_weights(random, layers, layer) for layer in layers]
    image_shape = layers[0].shape

    def forward(image: Any) -> Any:
        values: list[Any] = [image]
        for layer, parameters in zip(layers[1:], weights[1:], strict=True):
            values.append(_apply(tf, layer, [values[k] for k in layer.inputs], parameters))
        return values[-1]

    def images() -> Iterator[list[Any]]:
        for _ in range(_CALIBRATION_IMAGES):
            yield [random.uniform(-1.0, 1.0, image_shape).astype(np.float32)]

    module = tf.Module()
    signature = tf.TensorSpec(image_shape, tf.float32, name="image")
    concrete: Any = tf.function(forward).get_concrete_function(signature)
    converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = images
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    content = cast("bytes", converter.convert())
    Path(request["path"]).write_bytes(content)
    return {"bytes": len(content)}


def _layer(entry: dict[str, Any]) -> Layer:
    """A layer from JSON, where tuples are lists."""
    fields: dict[str, Any] = dict(entry)
    fields["inputs"], fields["shape"] = tuple(entry["inputs"]), tuple(entry["shape"])
    return Layer(**fields)


def _weights(
    random: np.random.Generator, layers: list[Layer], layer: Layer
) -> tuple[np.ndarray[Any, np.dtype[np.float32]], ...]:
    """Kernel and bias, scaled so that activations keep their size; nothing for other layers."""
    if layer.kind not in ("conv", "depthwise", "dense"):
        return ()
    inside, outside = layers[layer.inputs[0]].shape[-1], layer.shape[-1]
    shape: tuple[int, ...]
    if layer.kind == "dense":
        shape, fan_in = (inside, outside), inside
    elif layer.kind == "conv":
        shape = (layer.kernel, layer.kernel, inside, outside)
        fan_in = layer.kernel**2 * inside
    else:
        shape, fan_in = (layer.kernel, layer.kernel, inside, 1), layer.kernel**2
    kernel = random.standard_normal(shape) * np.sqrt(2.0 / fan_in)
    bias = random.uniform(-0.1, 0.1, outside)
    return kernel.astype(np.float32), bias.astype(np.float32)


def _apply(tf: Any, layer: Layer, inputs: list[Any], parameters: tuple[Any, ...]) -> Any:
    x = inputs[0]
    strides = [1, layer.stride, layer.stride, 1]
    match layer.kind:
        case "conv":
            x = tf.nn.conv2d(x, parameters[0], strides, "SAME") + parameters[1]
        case "depthwise":
            dilations = [layer.dilation, layer.dilation]
            x = tf.nn.depthwise_conv2d(x, parameters[0], strides, "SAME", dilations=dilations)
            x += parameters[1]
        case "dense":
            x = tf.matmul(x, parameters[0]) + parameters[1]
        case "add":
            x = tf.add(x, inputs[1])
        case "concat":
            x = tf.concat(inputs, axis=-1)
        case "relu":
            x = tf.nn.relu(x)
        case "max_pool":
            x = tf.nn.max_pool2d(x, layer.kernel, layer.stride, "SAME")
        case "average_pool":
            x = tf.nn.avg_pool2d(x, layer.kernel, layer.stride, "SAME")
        case "space_to_depth":
            x = tf.nn.space_to_depth(x, layer.stride)
        case "mean":
            x = tf.reduce_mean(x, axis=[1, 2])
        case _:
            raise AssertionError(layer.kind)
    if layer.activation:
        x = tf.nn.relu6(x) if layer.activation == "relu6" else tf.nn.relu(x)
    return x
