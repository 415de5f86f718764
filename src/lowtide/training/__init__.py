"""Training steps within a budget of bytes.

    contract, costs, planner, plan    from a graph to a sequence with recomputation; no framework
    cache                             plans on disk, by what they were made from
    step, keras_model                 TensorFlow functions and Keras models that follow a plan

`lowtide.tensorflow` is the public face.
"""
