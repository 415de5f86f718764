"""The files that the examples of the documentation speak of, small."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import onnx

from lowtide.bench.instances import cut_rectangle, training
from lowtide.bench.networks import randwire
from lowtide.solvers import write_csv
from lowtide.solvers.schedule.instance import ScheduleInstance, write_instance
from tests.docs.examples import ROOT
from tests.tflite_networks import network

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FRAMEWORK_SETUP", "SETUP", "make_world"]


def make_world(folder: Path) -> None:
    """The models and instances of the examples, under the names that they have there."""
    model = randwire(2, nodes=8, channels=8, side=16)
    onnx.save(model, folder / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, folder / "dynamic.onnx")
    (folder / "model.tflite").write_bytes(network("int8", 3, 8))
    write_instance(ScheduleInstance(training(6)), folder / "graph.json")
    (folder / "step.json").write_text(json.dumps(_step()))
    write_csv(cut_rectangle(1, 12), folder / "buffers.csv")
    shutil.copytree(ROOT / "examples", folder / "examples")


def _step(branches: int = 4) -> dict[str, object]:
    """A step whose fronts are quickly proven, in the format of rematerialization instances.

    The branches 1 .. n are made from 0 and joined, then something large is made, and then they
    are read again, one after the other.
    """
    join, large = branches + 1, branches + 2
    sizes = [0, *[1 << 20] * branches, 1 << 18, 3 << 20, *[1 << 18] * branches]
    links = [(0, k) for k in range(1, join)] + [(k, join) for k in range(1, join)] + [(join, large)]
    links += [(k, large + k) for k in range(1, join)]
    links += [(large + k, large + k + 1) for k in range(branches)]
    nodes = [{"id": k, "cost_cpu": 2, "cost_ram": size} for k, size in enumerate(sizes)]
    return {
        "directed": True,
        "graph": {"name": "step"},
        "nodes": nodes,
        "links": [{"source": a, "target": b} for a, b in links],
    }


_TENSORFLOW = """
import keras
import numpy as np
import tensorflow as tf

x, y = np.ones((2, 64), np.float32), np.ones((2, 1), np.float32)


def network():
    layers = [keras.layers.Dense(64, activation="relu") for _ in range(4)]
    return keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(1)])


model, trained = network(), network()
optimizer = keras.optimizers.SGD()


@tf.function
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(trained(x) - y))
    variables = trained.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    return loss
"""

_SERVED = """
folder = "saved_model_dir"


class Served(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((2, 64), name="x")])
    def serve(self, x):
        return {"y": self.model(x)}


served = Served()
served.model = model
tf.saved_model.save(served, folder, signatures={"serving_default": served.serve})
"""

_TVM = """
import tvm
from tvm import relax

from lowtide.bench.tvm_training_networks import mlp

adjoint = mlp(layers=3, batch=64, width=32).module()
module = tvm.IRModule({"main": adjoint["main"]})
weights = list(module["main"].params[2:])
"""

# What a page's blocks of Python find already there: values that belong to the reader.
SETUP: dict[str, str] = {
    "README.md": "import numpy as np\nimage = np.zeros((1, 3, 16, 16), np.float32)",
}
# The same for its blocks that need TensorFlow, or TVM.
FRAMEWORK_SETUP: dict[str, str] = {
    "README.md:tensorflow": _TENSORFLOW,
    "README.md:tvm": _TVM,
    "docs/start/compilers.md:tvm": _TVM,
    "docs/training.md:tensorflow": _TENSORFLOW + _SERVED,
    "docs/tvm.md:tvm": _TVM,
}
