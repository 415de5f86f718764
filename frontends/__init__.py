"""One module per source format: a model file to the graph IR."""
