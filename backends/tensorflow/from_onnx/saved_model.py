"""A SavedModel whose signature has the ONNX model's own names."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.backends.tensorflow.from_onnx.lazy import internal, tf

if TYPE_CHECKING:
    from lowtide.backends.tensorflow.from_onnx.graph import Built

__all__ = ["write"]

_SIGNATURE = "serving_default"


def write(built: Built, folder: Path) -> None:
    """Write the folder. Arguments get ONNX's names back, which TensorFlow only takes as keys."""
    # The gradient of what serves is of no use, and tracing it takes time.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(
        built.module, str(folder), signatures={_SIGNATURE: built.function}, options=options
    )
    renamed = dict(zip(built.arguments, built.inputs, strict=True))
    if all(one == other for one, other in renamed.items()):
        return
    schema = internal("tensorflow.core.protobuf.saved_model_pb2")
    path = folder / "saved_model.pb"
    proto = schema.SavedModel.FromString(path.read_bytes())
    for graph in proto.meta_graphs:
        inputs = graph.signature_def[_SIGNATURE].inputs
        infos = {
            name: type(inputs[name]).FromString(inputs[name].SerializeToString())
            for name in renamed
            if name in inputs
        }
        for name in infos:
            del inputs[name]
        for name, info in infos.items():
            inputs[renamed[name]].CopyFrom(info)
        for node in graph.object_graph_def.nodes:
            if node.WhichOneof("kind") != "bare_concrete_function":
                continue
            keywords = node.bare_concrete_function.argument_keywords
            for index, word in enumerate(keywords):
                keywords[index] = renamed.get(word, word)
    path.write_bytes(proto.SerializeToString())
