"""TVM: planned Relax bindings, freestanding C, and measurement in a fresh process."""
