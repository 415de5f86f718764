"""Makes the SavedModels of the tests; run as a script in a process of its own."""

# TensorFlow has no stubs.
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

tf: Any = importlib.import_module("tensorflow")
ROWS, WIDTH = 16, 64


class Branches(tf.Module):  # type: ignore[misc]
    """Branches that grow before they shrink, a table, a counter, and functions in functions."""

    def __init__(self) -> None:
        super().__init__()
        self.grow = [tf.Variable(self._values((WIDTH, 8 * WIDTH), i)) for i in range(3)]
        self.shrink = [tf.Variable(self._values((8 * WIDTH, 4), 7 + i)) for i in range(3)]
        self.calls = tf.Variable(0, trainable=False)
        keys = tf.lookup.KeyValueTensorInitializer(["one", "two"], [1.0, 2.0])
        self.table = tf.lookup.StaticHashTable(keys, -1.0)

    def _values(self, shape: tuple[int, ...], seed: int) -> Any:
        return tf.random.stateless_normal(shape, (seed, 3)) * 0.1

    @tf.function
    def branch(self, x: Any, grow: Any, shrink: Any) -> Any:
        """One of the branches, a call in the trace."""
        return tf.nn.relu(tf.matmul(x, grow)), shrink

    @tf.function(input_signature=[tf.TensorSpec((None, WIDTH)), tf.TensorSpec((), tf.string)])
    def serve(self, x: Any, key: Any) -> dict[str, Any]:
        """All branches grow first, as a trace may have them."""
        self.calls.assign_add(1)
        grown = [self.branch(x, g, s) for g, s in zip(self.grow, self.shrink, strict=True)]
        shrunk = [tf.matmul(h, s) for h, s in grown]
        scaled = tf.concat(shrunk, 1) * self.table.lookup(key)
        return {"scaled": scaled, "calls": tf.identity(self.calls)}

    @tf.function(input_signature=[tf.TensorSpec((None, WIDTH))])
    def total(self, x: Any) -> dict[str, Any]:
        """Another signature."""
        return {"total": tf.reduce_sum(x) + tf.cast(self.calls, tf.float32)}


class Outside(tf.Module):  # type: ignore[misc]
    """A model that would write a file."""

    def __init__(self, victim: str) -> None:
        super().__init__()
        self.victim = victim

    @tf.function(input_signature=[tf.TensorSpec((2,))])
    def serve(self, x: Any) -> dict[str, Any]:
        """Writes when it is called."""
        tf.io.write_file(self.victim, "written")
        return {"y": x + 1.0}


def make(folder: Path) -> None:
    """Write them."""
    model = Branches()
    signatures = {"serving_default": model.serve, "total": model.total}
    tf.saved_model.save(model, str(folder / "branches"), signatures=signatures)
    outside = Outside(str(folder / "victim"))
    tf.saved_model.save(outside, str(folder / "outside"), signatures=outside.serve)


def compare(one: Path, other: Path) -> dict[str, object]:
    """Both models loaded and called in the same way, twice, with a batch that no plan was for."""
    x = tf.constant(np.random.default_rng(1).normal(size=(ROWS + 3, WIDTH)).astype(np.float32))
    answers: list[list[Any]] = []
    for folder in (one, other):
        loaded = tf.saved_model.load(str(folder))
        found: list[Any] = []
        for key in ("two", "none"):
            served = loaded.signatures["serving_default"](x=x, key=tf.constant(key))
            found += [served["scaled"].numpy(), served["calls"].numpy()]
        found.append(loaded.signatures["total"](x=x)["total"].numpy())
        found += [loaded.calls.numpy(), loaded.serve(x, tf.constant("one"))["scaled"].numpy()]
        answers.append(found)
    close = [np.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(*answers, strict=True)]
    function = tf.saved_model.load(str(other)).signatures["serving_default"]
    return {
        "close": all(close),
        "calls": int(answers[1][3]),
        "signature": repr(function.structured_input_signature)
        == repr(
            tf.saved_model.load(str(one)).signatures["serving_default"].structured_input_signature
        ),
    }


def rematerialized(folder: Path) -> dict[str, object]:
    """The public function on a loaded signature."""
    import lowtide.tensorflow

    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    x = tf.random.stateless_normal((ROWS, WIDTH), (5, 6))
    key = tf.constant("two")
    planned = lowtide.tensorflow.rematerialize(
        function, budget=0.6, example_inputs={"x": x, "key": key}, profile=False
    )
    plain = tf.saved_model.load(str(folder)).signatures["serving_default"](x=x, key=key)
    answer: Any = planned(x=x, key=key)
    return {
        "close": bool(np.allclose(answer["scaled"], plain["scaled"], rtol=1e-5, atol=1e-5)),
        "before": planned.plan.peak_before_bytes,
        "after": planned.plan.peak_after_bytes,
    }


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    print(json.dumps(globals()[what](*map(Path, arguments))))
