"""A model as freestanding C, compiled with gcc at -Wall -Wextra -Werror and run."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import lowtide.tvm
from lowtide.errors import InputError, ModelError

if TYPE_CHECKING:
    from pathlib import Path

    import tvm

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc"),
]

MAIN = """\
#include "net.h"
#include <stdio.h>
int main(void) {
  static float x[NET_IN0_SIZE], y[NET_OUT0_SIZE];
  if (fread(x, sizeof(float), NET_IN0_SIZE, stdin) != NET_IN0_SIZE) return 1;
  net_run(x, y);
  net_run(x, y);  /* nothing is left over from the first run */
  fprintf(stderr, "%d %d", (int)NET_ARENA_BYTES, (int)NET_WEIGHTS_BYTES);
  return fwrite(y, sizeof(float), NET_OUT0_SIZE, stdout) != NET_OUT0_SIZE;
}
"""


def weight(name: str, *shape: int) -> onnx.TensorProto:
    rng = np.random.default_rng(len(name) + sum(shape))
    values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return numpy_helper.from_array(values.astype(np.float32), name)


def model(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "net",
        [info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [info("y", TensorProto.FLOAT, [1, 5])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def small() -> onnx.ModelProto:
    """A small convolutional network."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("MaxPool", ["r0"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w1"], ["a"]),
        helper.make_node("Conv", ["p", "w2"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["a", "b"], ["j"], axis=1),
        helper.make_node("GlobalAveragePool", ["j"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["l"]),
        helper.make_node("Softmax", ["l"], ["y"]),
    ]
    weights = [weight("w0", 8, 3, 3, 3), weight("w1", 4, 8, 1, 1)]
    return model(nodes, [*weights, weight("w2", 4, 8, 3, 3), weight("v", 8, 5)])


def mobile() -> onnx.ModelProto:
    """Inverted residuals with depthwise convolutions and clipped activations."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["t0"], pads=[1, 1, 1, 1], strides=[2, 2])]
    weights = [
        weight("w", 8, 3, 3, 3),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array(6, np.float32), "six"),
        weight("v", 8, 5),
    ]
    for index in range(2):
        at, names = f"t{index}", [f"{kind}{index}" for kind in ("e", "d", "q")]
        nodes += [
            helper.make_node("Conv", [at, f"{names[0]}w"], [f"{names[0]}c"]),
            helper.make_node("Clip", [f"{names[0]}c", "zero", "six"], [names[0]]),
            helper.make_node(
                "Conv", [names[0], f"{names[1]}w"], [f"{names[1]}c"], pads=[1, 1, 1, 1], group=32
            ),
            helper.make_node("Clip", [f"{names[1]}c", "zero", "six"], [names[1]]),
            helper.make_node("Conv", [names[1], f"{names[2]}w"], [names[2]]),
            helper.make_node("Add", [at, names[2]], [f"t{index + 1}"]),
        ]
        weights += [
            weight(f"{names[0]}w", 32, 8, 1, 1),
            weight(f"{names[1]}w", 32, 1, 3, 3),
            weight(f"{names[2]}w", 8, 32, 1, 1),
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", ["t2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    return model(nodes, weights)


def relax_of(source: onnx.ModelProto) -> tvm.IRModule:
    from lowtide.frontends.tvm.onnx_model import from_onnx

    return from_onnx(source)


@pytest.mark.parametrize("make", [small, mobile])
def test_compiled_run_and_compared(make: object, tmp_path: Path) -> None:
    assert callable(make)
    source = make()
    program = lowtide.tvm.c_program(relax_of(source), name="net")
    program.save(tmp_path / "net")
    folder = tmp_path / "net"
    (folder / "main.c").write_text(MAIN)
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    files = ["net.c", "net_data.c", "main.c"]
    subprocess.run(["gcc", *flags, *files, "-lm", "-o", "net"], cwd=folder, check=True)
    x = np.random.default_rng(3).standard_normal((1, 3, 16, 16)).astype(np.float32)
    done = subprocess.run(
        [folder / "net"], input=x.tobytes(), capture_output=True, check=True, timeout=60
    )
    assert done.stderr.decode() == f"{program.arena_bytes} {program.weights_bytes}"
    session = ort.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.asarray(session.run(None, {"x": x})[0])
    found = np.frombuffer(done.stdout, np.float32).reshape(expected.shape)
    assert np.abs(found - expected).max() < 1e-5
    # The arena is what the plan proves to be needed, kernels' scratch included.
    assert program.plan.certificate is not None
    assert program.arena_bytes == program.plan.certificate.lower_bound_bytes
    # Nothing of TVM is called.
    names = subprocess.run(
        ["nm", "-u", "net"], cwd=folder, capture_output=True, check=True
    ).stdout.decode()
    assert "TVM" not in names
    assert "malloc" not in names
    sections = subprocess.run(
        ["objdump", "-h", "net"], cwd=folder, capture_output=True, check=True
    ).stdout.decode()
    assert "net_weights" in sections


def named(x: str, w: str, y: str) -> onnx.ModelProto:
    """A convolution whose names are given, and a scalar with many digits."""
    nodes = [
        helper.make_node("Conv", [x, w], ["c"]),
        helper.make_node("Mul", ["c", "third"], ["m"]),
        helper.make_node("Relu", ["m"], [y], name=x),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "net",
        [info(x, TensorProto.FLOAT, [1, 3, 8, 8])],
        [info(y, TensorProto.FLOAT, [1, 2, 6, 6])],
        [
            numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), w),
            numpy_helper.from_array(np.array(1 / 3, np.float32), "third"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_a_models_names_are_not_in_the_sources_and_numbers_have_all_their_digits() -> None:
    plain = lowtide.tvm.c_program(relax_of(named("x", "w", "y")))
    hostile = named('*/ int main(void) { return 1; } /*"', "w;\n#error", "y\\\n}")
    assert lowtide.tvm.c_program(relax_of(hostile)).files == plain.files
    assert f"{float(np.float32(1 / 3)).hex()}f" in plain.files["model.c"]


def test_whole_numbers_and_several_results(tmp_path: Path) -> None:
    from lowtide.backends.tvm.c_run import compile_program, run_program

    least = np.array([[-(1 << 63), 1, 2]], np.int64)
    nodes = [
        helper.make_node("Add", ["x", "i"], ["y"]),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Greater", ["y", "x"], ["b"]),
        helper.make_node("Reshape", ["y", "s"], ["flat"]),
    ]
    info, int64 = helper.make_tensor_value_info, TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "net",
        [info("x", int64, [2, 3])],
        [
            info("same", int64, [2, 3]),
            info("b", TensorProto.BOOL, [2, 3]),
            info("flat", int64, [6]),
            info("y", int64, [2, 3]),
        ],
        [
            numpy_helper.from_array(least, "i"),
            numpy_helper.from_array(np.array([6], np.int64), "s"),
        ],
    )
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    program = lowtide.tvm.c_program(relax_of(source), name="net")
    program.save(tmp_path / "net")
    x = np.arange(6, dtype=np.int64).reshape(2, 3)
    expected = [x, x + least > x, (x + least).reshape(6), x + least]
    compile_program(tmp_path / "net", "net", tmp_path)
    found = run_program(tmp_path / "net", "net", tmp_path, [x], expected)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)


def test_what_c_cannot_have_is_refused() -> None:
    from tvm import relax

    with pytest.raises(InputError, match="no C identifier"):
        lowtide.tvm.c_program(relax_of(small()), name="9 lives")
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([4, 4], "float32"))
    with builder.function("main", [x]):
        a = builder.emit(relax.op.call_pure_packed("some.function", x, ty_args=x.ty))
        builder.emit_func_output(builder.emit(relax.op.multiply(a, a)))
    with pytest.raises(ModelError, match=r"`some[.]function` is called: that needs"):
        lowtide.tvm.c_program(builder.get())
