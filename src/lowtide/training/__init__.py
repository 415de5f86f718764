"""Training steps within a budget of bytes.

    contract, costs, planner, plan    from a graph to a sequence with recomputation; no framework
    cache                             plans on disk, by what they were made from
    step, keras_model                 TensorFlow functions and Keras models that follow a plan
    drawing                           what pictures show of it

`lowtide.tensorflow` is the public face.
"""
