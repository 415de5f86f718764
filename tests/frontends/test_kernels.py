from __future__ import annotations

import math

import pytest

from lowtide.frontends.onnx.kernels import KernelMemory, KernelQuery, TensorType, kernel_memory
from lowtide.frontends.onnx.ort_kernels import KERNELS
from lowtide.ir import InPlace
from lowtide.ir.op import Attribute

_X = TensorType("float32", (1, 64, 14, 14))


def _ask(
    kind: str,
    *inputs: TensorType | None,
    output: TensorType | None = None,
    domain: str = "",
    constant: tuple[bool, ...] = (),
    threads: int = 1,
    **attributes: Attribute,
) -> KernelMemory:
    result = inputs[0] if output is None else output
    return kernel_memory(
        KernelQuery(domain, kind, 21, attributes, inputs, (result,), constant, threads)
    )


def test_an_unlisted_kernel_is_unknown() -> None:
    memory = _ask("Sigmoid", _X, domain="org.example")
    assert memory == KernelMemory(workspace_known=False)


@pytest.mark.parametrize("kind", ["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"])
def test_views(kind: str) -> None:
    memory = _ask(kind, _X, output=TensorType("float32", (64, 196)))
    assert memory.aliases == ((0, 0),)
    assert memory.in_place == ()


@pytest.mark.parametrize("kind", ["Relu", "Clip", "Sigmoid", "Softmax", "LogSoftmax", "Tanh"])
def test_in_place(kind: str) -> None:
    assert _ask(kind, _X).in_place == (InPlace(0, 0),)


@pytest.mark.parametrize("kind", ["Add", "Mul", "Neg", "Abs", "Exp", "Erf", "Hardmax", "ScatterND"])
def test_not_in_place(kind: str) -> None:
    assert _ask(kind, _X, _X).in_place == ()


def test_the_planner_compares_element_size_and_every_dimension() -> None:
    same_size = TensorType("int32", _X.shape)
    assert _ask("Cast", _X, output=same_size).in_place == (InPlace(0, 0),)
    assert _ask("Cast", _X, output=TensorType("int64", _X.shape)).in_place == ()
    flat = TensorType("float32", (math.prod(_X.shape),))
    assert _ask("Relu", _X, output=flat).in_place == ()
    text = TensorType("opaque", (3,))
    assert _ask("ScatterElements", text, output=text).in_place == ()


def test_a_constant_is_not_overwritten() -> None:
    assert _ask("Relu", _X, constant=(True,)).in_place == ()


def test_a_fused_convolution_accumulates_into_its_fourth_operand() -> None:
    weights, bias = TensorType("float32", (64, 64, 3, 3)), TensorType("float32", (64,))
    pads = (1, 1, 1, 1)
    for domain, kind in (("com.microsoft", "FusedConv"), ("com.microsoft.nchwc", "Conv")):
        memory = _ask(kind, _X, weights, bias, _X, output=_X, domain=domain, pads=pads)
        assert memory.in_place == (InPlace(0, 3),)
        memory = _ask(kind, _X, weights, bias, output=_X, domain=domain, pads=pads)
        assert memory.in_place == ()


@pytest.mark.parametrize(
    ("filters", "kernel", "size", "threads", "expected"),
    [
        (64, 1, 14, 1, 0),  # pointwise
        (64, 3, 12, 1, 65536),  # a panel per thread
        (64, 3, 12, 4, 3 * 65536),  # 48 columns each: the fourth thread has none
        (256, 3, 12, 1, 64 * 9 * 144 * 4),  # more filters than pixels: all columns
        (1, 3, 12, 4, 2 * 65536),  # too little work for more threads
    ],
)
def test_convolution_workspace(
    filters: int, kernel: int, size: int, threads: int, expected: int
) -> None:
    weights = TensorType("float32", (filters, 64, kernel, kernel))
    output = TensorType("float32", (1, filters, size, size))
    memory = _ask("Conv", _X, weights, output=output, threads=threads)
    assert memory.workspace_known
    assert memory.workspace_bytes == expected


def test_softmax_transposes_an_inner_axis() -> None:
    assert _ask("Softmax", _X, axis=-1).workspace_bytes == 0
    assert _ask("Softmax", _X, axis=3).workspace_bytes == 0
    assert _ask("Softmax", _X, axis=1).workspace_bytes == 2 * 64 * 196 * 4


def test_variants_that_were_not_worked_out_say_so() -> None:
    assert not _ask("Resize", _X, mode="cubic").workspace_known
    assert not _ask("Conv", TensorType("float16", _X.shape), _X).workspace_known
    assert _ask("Resize", _X, mode="nearest").workspace_known


def test_every_rule_answers_a_node_without_operands() -> None:
    for domain, kind in KERNELS:
        memory = kernel_memory(KernelQuery(domain, kind, 21, {}, (), ()))
        assert memory.in_place == ()
        assert memory.aliases == ()
        assert memory.workspace_bytes >= 0
