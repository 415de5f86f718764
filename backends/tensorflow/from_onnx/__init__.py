"""ONNX models as TensorFlow graphs and .tflite files.

    report = convert(model, "model.lowtide.savedmodel")          named signature, original names
    report = convert(model, "model.lowtide.tflite", quantize="float16")

Each operator of ONNX is emitted as TensorFlow ops, by one function in the module of its family.
Nothing here imports TensorFlow before it is used; `convert` uses it in a child process.
"""

from lowtide.backends.tensorflow.from_onnx.conversion import Conversion, Format, Quantize, Remaining
from lowtide.backends.tensorflow.from_onnx.convert import convert

__all__ = ["Conversion", "Format", "Quantize", "Remaining", "convert"]
