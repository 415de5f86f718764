"""Whether two TFLite models compute the same, as rewritten ones have to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lowtide.backends.tflite.equivalence import equivalence
from lowtide.bench.tflite_builder import litert_schema, pack
from lowtide.errors import ModelError
from lowtide.frontends.tflite import read
from tests.tflite_networks import Network, feeds

if TYPE_CHECKING:
    from lowtide.backends.tflite.equivalence import Runtime

RUNTIMES: tuple[Runtime, ...] = ("tflm", "litert")


def scaled(factor: float, kind: str = "float32") -> bytes:
    """A convolution whose first weight is a little off."""
    net = Network(kind, 5)
    net.conv(net.source((1, 4, 4, 2)), 3)
    schema: Any = litert_schema()
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(net.data(), 0))
    weights = model.buffers[1 if kind == "int8" else 2]
    data = np.frombuffer(np.array(weights.data, np.uint8).tobytes(), np.dtype(kind)).copy()
    data[0] = data[0] + 1 if kind == "int8" else data[0] * factor
    weights.data = np.frombuffer(data.tobytes(), np.uint8)
    return pack(model)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_how_far_models_are_apart(runtime: Runtime) -> None:
    original, close, far = scaled(1), scaled(1.0001), scaled(2)
    source, inputs = read(original), feeds(original, 1)
    same = equivalence(source, original, inputs, runtime)
    assert (same.identical, same.within, same.max_abs_error) == (True, True, 0)
    near = equivalence(source, close, inputs, runtime)
    assert (near.identical, near.within) == (False, True)
    assert near.max_abs_error > 0
    other = equivalence(source, far, inputs, runtime)
    assert not other.within
    assert other.where.startswith("output 0 in execution 0: differs by up to")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_integers_have_to_be_the_same(runtime: Runtime) -> None:
    net = Network("int8", 5)
    net.conv(net.source((1, 4, 4, 2)), 3)
    original = net.data()
    found = equivalence(read(original), scaled(1, "int8"), feeds(original, 1), runtime)
    assert not found.within
    assert "elements differ" in found.where


def test_what_a_runtime_lacks() -> None:
    net = Network("float32")
    net.unary("ELU", net.source((1, 4)))  # not among LiteRT's reference kernels
    data = net.data()
    assert equivalence(read(data), data, feeds(data, 1), "litert").identical
    net = Network("float32")
    net.build.op("CUSTOM", [net.source((1, 4)).tensor], [net.value((1, 4)).tensor], custom="None")
    net.build.inputs(0)
    net.build.outputs(1)
    data = net.build.data()
    for runtime in RUNTIMES:
        with pytest.raises(ModelError, match="refused"):
            equivalence(read(data), data, feeds(data, 1), runtime)
