"""TensorFlow functions that follow a plan, and what they are measured with.

Modules are imported by name (`lowtide.backends.tensorflow.reemit`), TensorFlow only when used.
"""
