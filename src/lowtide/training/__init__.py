"""Training steps within a budget of bytes: from a graph to a sequence with recomputation.

It knows graphs and solvers, no framework; `lowtide.tensorflow` is a facade over it.
"""
