"""One module per target: a plan and its model to a model that runs."""
