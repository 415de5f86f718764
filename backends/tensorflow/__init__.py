"""ONNX models to TensorFlow and TFLite, and TensorFlow functions in planned order."""

from lowtide.backends.tensorflow.from_onnx import Conversion, convert

__all__ = ["Conversion", "convert"]
