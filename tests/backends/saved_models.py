"""Makes the SavedModels of the tests; run as a script in a process of its own."""

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
        self.branch = tf.function(self._branch)
        images = [tf.TensorSpec((None, WIDTH)), tf.TensorSpec(())]
        self.serve = tf.function(self._serve, input_signature=images)
        texts = [tf.TensorSpec((None,), tf.string)]
        self.look_up = tf.function(self._look_up, input_signature=texts)

    def _values(self, shape: tuple[int, ...], seed: int) -> Any:
        return tf.random.stateless_normal(shape, (seed, 3)) * 0.1

    def _branch(self, x: Any, grow: Any, shrink: Any) -> Any:
        """One of the branches, a call in the trace."""
        return tf.nn.relu(tf.matmul(x, grow)), shrink

    def _serve(self, x: Any, scale: Any) -> dict[str, Any]:
        """All branches grow first, as a trace may have them."""
        self.calls.assign_add(1)
        grown = [self.branch(x, g, s) for g, s in zip(self.grow, self.shrink, strict=True)]
        shrunk = [tf.matmul(h, s) for h, s in grown]
        scaled = tf.concat(shrunk, 1) * scale
        return {"scaled": scaled, "calls": tf.identity(self.calls)}

    def _look_up(self, key: Any) -> dict[str, Any]:
        """Another signature."""
        return {"found": self.table.lookup(key) + tf.cast(self.calls, tf.float32)}


class Words(tf.Module):  # type: ignore[misc]
    """Tables at both ends: words to rows of a matrix, and the best column to a name."""

    def __init__(self) -> None:
        super().__init__()
        numbers = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64))
        self.numbers = tf.lookup.StaticHashTable(numbers, 0)
        columns = tf.range(3, dtype=tf.int64)
        names = tf.lookup.KeyValueTensorInitializer(columns, tf.constant(["x", "y", "z"]))
        self.names = tf.lookup.StaticHashTable(names, "?")
        values = tf.random.stateless_normal
        self.rows = tf.Variable(values((3, WIDTH), (1, 1)))
        self.grow = [tf.Variable(values((WIDTH, 8 * WIDTH), (i, 2)) * 0.1) for i in range(3)]
        self.shrink = [tf.Variable(values((8 * WIDTH, 4), (i, 3)) * 0.1) for i in range(3)]
        texts = [tf.TensorSpec((None, 2), tf.string)]
        self.serve = tf.function(self._serve, input_signature=texts)

    def _serve(self, words: Any) -> dict[str, Any]:
        """All branches grow first."""
        rows = tf.reduce_mean(tf.gather(self.rows, self.numbers.lookup(words)), 1)
        grown = [tf.nn.relu(tf.matmul(rows, weights)) for weights in self.grow]
        shrunk = [tf.matmul(h, w) for h, w in zip(grown, self.shrink, strict=True)]
        scores = tf.concat(shrunk, 1)
        return {"scores": scores, "names": self.names.lookup(tf.argmax(scores[:, :4], 1))}


class Outside(tf.Module):  # type: ignore[misc]
    """A model that would write a file."""

    def __init__(self, victim: str) -> None:
        super().__init__()
        self.victim = victim
        self.serve = tf.function(self._serve, input_signature=[tf.TensorSpec((2,))])

    def _serve(self, x: Any) -> dict[str, Any]:
        """Writes when it is called."""
        tf.io.write_file(self.victim, "written")
        return {"y": x + 1.0}


def make(folder: Path) -> None:
    """Write them."""
    model = Branches()
    signatures = {"serving_default": model.serve, "look_up": model.look_up}
    tf.saved_model.save(model, str(folder / "branches"), signatures=signatures)
    words = Words()
    tf.saved_model.save(words, str(folder / "words"), signatures=words.serve)
    outside = Outside(str(folder / "victim"))
    tf.saved_model.save(outside, str(folder / "outside"), signatures=outside.serve)


def compare(one: Path, other: Path) -> dict[str, object]:
    """Both models loaded and called in the same way, twice, with a batch that no plan was for."""
    x = tf.constant(np.random.default_rng(1).normal(size=(ROWS + 3, WIDTH)).astype(np.float32))
    answers: list[list[Any]] = []
    for folder in (one, other):
        loaded = tf.saved_model.load(str(folder))
        found: list[Any] = []
        for scale in (1.0, 3.0):
            served = loaded.signatures["serving_default"](x=x, scale=tf.constant(scale))
            found += [served["scaled"].numpy(), served["calls"].numpy()]
        keys = tf.constant(["two", "none"])
        found.append(loaded.signatures["look_up"](key=keys)["found"].numpy())
        found += [loaded.calls.numpy(), loaded.serve(x, tf.constant(2.0))["scaled"].numpy()]
        answers.append(found)
    close = [np.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(*answers, strict=True)]
    forms: list[str] = []
    for folder in (one, other):
        function = tf.saved_model.load(str(folder)).signatures["serving_default"]
        forms.append(f"{function.structured_input_signature} {function.structured_outputs}")
    return {"close": all(close), "calls": int(answers[1][3]), "signature": forms[0] == forms[1]}


def look_up(one: Path, other: Path) -> dict[str, object]:
    """Both models on words that are in the table, and on others."""
    words = tf.constant([["a", "b"], ["b", "b"], ["a", "c"], ["c", "d"], ["a", "a"]])
    answers: list[Any] = []
    for folder in (one, other):
        loaded = tf.saved_model.load(str(folder))
        answers.append(loaded.signatures["serving_default"](words=words))
    scores = [answer["scores"].numpy() for answer in answers]
    return {
        "close": bool(np.allclose(scores[0], scores[1], rtol=1e-5, atol=1e-5)),
        "apart": len({row.tobytes() for row in scores[1]}),
        "names": all(answers[0]["names"].numpy() == answers[1]["names"].numpy()),
    }


def rematerialized(folder: Path) -> dict[str, object]:
    """The public function on a loaded signature."""
    import lowtide.tensorflow

    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures["serving_default"]
    x = tf.random.stateless_normal((ROWS, WIDTH), (5, 6))
    scale = tf.constant(2.0)
    planned = lowtide.tensorflow.rematerialize(
        function, budget=0.6, example_inputs={"x": x, "scale": scale}, profile=False
    )
    plain = function(x=x, scale=scale)
    answer: Any = planned(x=x, scale=scale)
    return {
        "close": bool(np.allclose(answer["scaled"], plain["scaled"], rtol=1e-5, atol=1e-5)),
        "before": planned.plan.peak_before_bytes,
        "after": planned.plan.peak_after_bytes,
    }


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    print(json.dumps(globals()[what](*map(Path, arguments))))
