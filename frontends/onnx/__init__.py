"""ONNX models to the graph IR."""
