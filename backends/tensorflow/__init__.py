"""ONNX models to TensorFlow and TFLite, and TensorFlow functions in planned order."""
