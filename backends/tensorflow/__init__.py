"""ONNX models to TensorFlow and TFLite; TensorFlow functions that follow a plan, and their meter.

Besides `convert`, modules are imported by name (`lowtide.backends.tensorflow.reemit`); TensorFlow
is loaded only when it is used.
"""

from lowtide.backends.tensorflow.from_onnx import Conversion, convert

__all__ = ["Conversion", "convert"]
