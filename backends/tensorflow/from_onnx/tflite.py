"""A .tflite through TensorFlow's converter, with the ONNX model's own names put back."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowtide.backends.tensorflow.from_onnx import layout
from lowtide.backends.tensorflow.from_onnx.conversion import Quantize, Remaining
from lowtide.backends.tensorflow.from_onnx.lazy import internal, tf
from lowtide.errors import InputError, ModelError

if TYPE_CHECKING:
    from lowtide.backends.tensorflow.from_onnx.graph import Built

__all__ = ["Written", "samples", "write"]


@dataclass(frozen=True)
class Written:
    """What is in the file."""

    operators: Counter[str]
    transposes: list[Remaining]
    notes: list[str]


def write(built: Built, path: Path, quantize: Quantize, representative: str) -> Written:
    """Convert and write.

    Raises:
        ModelError: TFLite lacks an operator; the message names those.
        InputError: the representative dataset does not fit the model.
    """
    with tempfile.TemporaryDirectory(prefix="lowtide-") as work:
        tf.saved_model.save(built.module, work, signatures={"serving_default": built.function})
        converter = tf.lite.TFLiteConverter.from_saved_model(
            work, signature_keys=["serving_default"]
        )
        _configure(converter, built, quantize, representative)
        try:
            data = converter.convert()
        except Exception as error:
            raise ModelError(
                f"TensorFlow's converter refuses the model: {_refusal(error)}"
            ) from None
    schema = internal("tensorflow.lite.python.schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    _rename(model, built)
    builder = internal("flatbuffers").Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    names = {
        code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
    }
    kinds: Counter[str] = Counter()
    for graph in model.subgraphs:
        for op in graph.operators:
            kind = model.operatorCodes[op.opcodeIndex]
            kinds[names[max(kind.builtinCode, kind.deprecatedBuiltinCode)]] += 1
    transposes = list(layout.in_tflite(model, schema.BuiltinOperator.TRANSPOSE))
    return Written(kinds, transposes, [])


def _configure(converter: Any, built: Built, quantize: Quantize, representative: str) -> None:
    if quantize == "none":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
        return
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    if quantize == "qdq":
        return
    converter.representative_dataset = _dataset(built, representative)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def samples(names: tuple[str, ...], representative: str) -> Iterator[dict[str, Any]]:
    """The sets of inputs in an .npz, one after the other.

    Raises:
        InputError: an input is missing, or the numbers of samples differ.
    """
    try:
        with np.load(representative, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{representative} is no .npz of arrays: {error}") from None
    missing = [name for name in names if name not in arrays]
    if missing:
        held = ", ".join(f"`{name}`" for name in arrays) or "nothing"
        raise InputError(f"{representative} has no array `{missing[0]}`, it has {held}")
    counts = {arrays[name].shape[0] if arrays[name].ndim else 0 for name in names}
    if len(counts) != 1 or 0 in counts:
        raise InputError(f"{representative}: the arrays have {sorted(counts)} samples")
    for index in range(counts.pop()):
        yield {name: arrays[name][index] for name in names}


def _dataset(built: Built, representative: str) -> Callable[[], Iterator[dict[str, Any]]]:
    specs = built.function.structured_input_signature[0]
    shapes = {
        name: (argument, spec)
        for name, argument, spec in zip(built.inputs, built.arguments, specs, strict=True)
    }

    def generate() -> Iterator[dict[str, Any]]:
        for sample in samples(built.inputs, representative):
            fed: dict[str, Any] = {}
            for name, value in sample.items():
                argument, spec = shapes[name]
                rank = spec.shape.rank
                # A sample without the batch dimension gets one.
                whole = value[None] if rank is not None and value.ndim == rank - 1 else value
                if not spec.shape.is_compatible_with(whole.shape):
                    raise InputError(
                        f"{representative}: a sample of `{name}` has the shape {list(whole.shape)},"
                        f" the input {spec.shape}"
                    )
                fed[argument] = whole.astype(spec.dtype.as_numpy_dtype)
            yield fed

    return generate


def _rename(model: Any, built: Built) -> None:
    """ONNX's names for the signature and for its tensors."""
    renamed = dict(zip(built.arguments, built.inputs, strict=True))
    for signature in model.signatureDefs or ():
        graph = model.subgraphs[signature.subgraphIndex]
        for tensors, inputs in ((signature.inputs, True), (signature.outputs, False)):
            for entry in tensors:
                name = entry.name.decode() if isinstance(entry.name, bytes) else entry.name
                original = renamed.get(name, name) if inputs else name
                entry.name = original
                graph.tensors[entry.tensorIndex].name = original


def _refusal(error: Exception) -> str:
    """The operators that the converter lists, or what it says."""
    text = str(error)
    needed = re.findall(r"tf\.([A-Z][A-Za-z0-9]*)", text)
    if needed:
        return f"TFLite has no kernel for {', '.join(sorted(set(needed)))} as they are used here"
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:400]
