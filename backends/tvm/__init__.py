"""TVM: the pass that orders and packs a Relax function, the pipeline around it, and measurement."""
