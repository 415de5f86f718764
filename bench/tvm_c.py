"""ONNX models as freestanding C: arenas, sections, and what they compute.

    python -m lowtide.bench.tvm_c [NETWORK ...] [-o bench/results/tvm_c]

Every program is compiled with every warning an error, run, and compared with ONNX Runtime.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import lowtide
from lowtide.backends.tvm.c_run import FLAGS
from lowtide.bench import protocol
from lowtide.bench.onnx_networks import light, mobilenet_v2, unet
from lowtide.bench.record import Measure, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["NETWORKS", "Row", "lenet", "main", "measures", "run_network"]


@dataclass(frozen=True, slots=True)
class Row:
    """One network; bytes.

    Attributes:
        network: its name.
        ops: kernels and views.
        arena_before: in TVM's order, with the same allocator.
        arena: tensors and the kernels' scratch.
        bound: no order and no layout needs less.
        memory: what the compiled program holds in sections that are written at run time.
        text: code.
        weights: in their own section.
        max_error: against ONNX Runtime.
        seconds: of planning, wall time.
    """

    network: str
    ops: int
    arena_before: int
    arena: int
    bound: int
    memory: int
    text: int
    weights: int
    max_error: float
    seconds: float


def lenet(size: int = 28, seed: int = 0) -> onnx.ModelProto:
    """A small convolutional network: two convolutions, two dense layers."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w0", "b0"], ["c0"], pads=[2, 2, 2, 2]),
        node("Relu", ["c0"], ["r0"]),
        node("MaxPool", ["r0"], ["p0"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p0", "w1", "b1"], ["c1"]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p1"], ["f"]),
        node("Gemm", ["f", "w2", "b2"], ["g2"]),
        node("Relu", ["g2"], ["r2"]),
        node("Gemm", ["r2", "w3", "b3"], ["g3"]),
        node("Softmax", ["g3"], ["y"]),
    ]
    flat = 16 * (size // 4 - 2) ** 2
    shapes = {"0": (6, 1, 5, 5), "1": (16, 6, 5, 5), "2": (flat, 84), "3": (84, 10)}
    weights = [weight(f"w{key}", *shape) for key, shape in shapes.items()]
    weights += [weight(f"b{key}", n) for key, n in (("0", 6), ("1", 16), ("2", 84), ("3", 10))]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "lenet",
        [info("x", TensorProto.FLOAT, [1, 1, size, size])],
        [info("y", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "lenet": lenet,
    "mobilenet_v2": mobilenet_v2,
    "unet": unet,
    "squeezenet": lambda: light("squeezenet"),
}


def run_network(name: str, model: onnx.ModelProto) -> Row:
    """Write the program, compile it, run it."""
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        result = lowtide.optimize(
            model, target="c", rewrite="none", output=Path(folder, f"{name}.c")
        )
    report = result.report
    measured = cast("dict[str, int]", report.measured)
    return Row(
        network=name,
        ops=cast("int", report.model["ops"]),
        arena_before=report.arena_bytes.before,
        arena=report.arena_bytes.after,
        bound=report.arena_bytes.lower_bound,
        memory=measured["peak_after"],
        text=measured["text_bytes"],
        weights=measured["weights_bytes"],
        max_error=cast("float", report.verification["max_abs_error"]),
        seconds=report.seconds["solve"],
    )


def _table(rows: Sequence[Row]) -> str:
    table = protocol.markdown(
        (
            *("network", "ops", "TVM's order", "our arena", "lower bound", "static memory"),
            *("text", "weights", "largest error", "plan s"),
        ),
        [
            (
                row.network,
                str(row.ops),
                f"{row.arena_before:,}",
                f"{row.arena:,}",
                f"{row.bound:,}",
                f"{row.memory:,}",
                f"{row.text:,}",
                f"{row.weights:,}",
                f"{row.max_error:.1e}",
                f"{row.seconds:.1f}",
            )
            for row in rows
        ],
    )
    return (
        "# ONNX models as freestanding C\n\n"
        "Bytes. The arena holds every tensor between input and result and every kernel's scratch; "
        "static memory is what the compiled objects reserve, without main and libc "
        f"(`gcc {' '.join(FLAGS)}`, x86-64). Nothing but libc and libm is linked; random weights; "
        f"errors are against ONNX Runtime.\n\n{table}\n"
    )


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """Arenas and sections of the programs."""
    for row in rows:
        yield Measure(row.network, "lowtide", "arena", "bytes", row.arena)
        yield Measure(row.network, "lowtide", "gap", "bytes", row.arena - row.bound)
        yield Measure(row.network, "lowtide", "static memory", "bytes", row.memory)
        yield Measure(row.network, "TVM's order", "arena", "bytes", row.arena_before, peer=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; fails where a program reserves more than was planned."""
    parser = argparse.ArgumentParser(prog="tvm_c", description=__doc__)
    parser.add_argument("networks", nargs="*", choices=[*NETWORKS, []])
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    names: list[str] = options.networks or list(NETWORKS)
    rows: list[Row] = []
    for name in names:
        rows.append(run_network(name, NETWORKS[name]()))
        print(rows[-1], file=sys.stderr, flush=True)
    text = _table(rows)
    print(text)
    if options.output is not None:
        protocol.write(
            options.output,
            text,
            {"rows": [asdict(row) for row in rows]},
            {"networks": " ".join(names), "seed": 0},
            measures=measures(rows),
            models={name: digest(NETWORKS[name]().SerializeToString()) for name in names},
        )
    return 1 if any(row.memory > row.arena for row in rows) else 0


if __name__ == "__main__":
    protocol.end(main)
