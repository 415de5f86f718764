"""Plans back to ONNX models that run."""
