"""Every entry of the in-place whitelist, executed: shared with its operand and apart from it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from lowtide.backends.tflite.tflm.check import check_plan
from lowtide.backends.tflite.tflm.feeds import feeds_for
from lowtide.backends.tflite.tflm.in_place import Kernels, whitelist
from lowtide.backends.tflite.tflm.interpreter import open_interpreter
from lowtide.errors import PlanError
from lowtide.frontends.tflite import read
from tests.backends.tflm_models import ModelBuilder, Quantization, plan_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

fb: Any = importlib.import_module("ai_edge_litert.schema_py_generated")

_SHAPE = (1, 3, 5, 7)
_FAR = 4096  # beyond every tensor of these models
_ENTRIES = whitelist(Kernels.REFERENCE)
# Kernels that demand a certain quantization of their result.
_RESULT = {
    ("LOGISTIC", "int8"): Quantization((1 / 256,), -128),
    ("LOGISTIC", "int16"): Quantization((1 / 32768,)),
    ("TANH", "int8"): Quantization((1 / 128,), 0),
    ("TANH", "int16"): Quantization((1 / 32768,)),
    ("SOFTMAX", "int8"): Quantization((1 / 256,), -128),
}
_OPTIONS = {
    "ADD": "AddOptionsT",
    "SUB": "SubOptionsT",
    "MUL": "MulOptionsT",
    "MAXIMUM": "MaximumMinimumOptionsT",
    "MINIMUM": "MaximumMinimumOptionsT",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptionsT",
    "LEAKY_RELU": "LeakyReluOptionsT",
    "SOFTMAX": "SoftmaxOptionsT",
    "RESHAPE": "ReshapeOptionsT",
    "SQUEEZE": "SqueezeOptionsT",
    "EXPAND_DIMS": "ExpandDimsOptionsT",
    "ABS": "AbsOptionsT",
    "NEG": "NegOptionsT",
    "EXP": "ExpOptionsT",
    "SQUARE": "SquareOptionsT",
    "HARD_SWISH": "HardSwishOptionsT",
    "QUANTIZE": "QuantizeOptionsT",
}
_NEW_SHAPE = {"RESHAPE": (7, 15), "SQUEEZE": (3, 5, 7), "EXPAND_DIMS": (1, 1, 3, 5, 7)}


class Case(NamedTuple):
    """An entry of the whitelist with one element type and one operand to share.

    `other` says what a second operand is: none, another input, the same tensor, one that is
    broadcast, or a constant.
    """

    kind: str
    dtype: str
    position: int
    other: str


def cases() -> list[Case]:
    found: list[Case] = []
    for kind, entry in _ENTRIES.items():
        for dtype in entry.dtypes:
            if len(entry.operands) == 1:
                found.append(Case(kind, dtype, 0, "none"))
                continue
            for position in entry.operands:
                found += [
                    Case(kind, dtype, position, other)
                    for other in ("input", "same", "broadcast", "constant")
                    if other != "same" or kind not in {"SUB", "SQUARED_DIFFERENCE"}  # x - x is 0
                ]
    return found


def options(kind: str) -> Any:
    name = _OPTIONS.get(kind)
    if name is None:
        return None
    made = getattr(fb, name)()
    if kind == "LEAKY_RELU":
        made.alpha = 0.2
    if kind == "SOFTMAX":
        made.beta = 1.0
    if kind == "RESHAPE":
        made.newShape = list(_NEW_SHAPE[kind])
    if kind == "SQUEEZE":
        made.squeezeDims = [0]
    return made


def numbers_of(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "float32":
        return rng.standard_normal(shape).astype(np.float32)
    return rng.integers(-100, 100, shape).astype(dtype)


def build(case: Case, *, shared: bool) -> bytes:
    """The kernel on an input of the graph, then an addition that poisons what is dead."""
    model = ModelBuilder()
    main = model.subgraph()
    operand = main.tensor(_SHAPE, case.dtype)
    poison = main.tensor((1, _FAR // 16), "float32")
    main.subgraph.inputs = [operand, poison]
    rng = np.random.default_rng(7)
    extra: list[int] = []
    if case.other == "input":
        extra = [main.tensor(_SHAPE, case.dtype)]
        main.subgraph.inputs.append(extra[0])
    elif case.other == "same":
        extra = [operand]
    elif case.other in {"broadcast", "constant"}:
        shape = (1, 1, 1, 7) if case.other == "broadcast" else _SHAPE
        numbers = numbers_of(rng, shape, case.dtype)
        extra = [main.tensor(shape, case.dtype, data=numbers)]
    if case.kind == "EXPAND_DIMS":
        extra = [main.tensor((1,), "int32", data=np.array([0], np.int32))]
    if case.kind == "PRELU":
        slopes = numbers_of(rng, (1, 1, 7), case.dtype)
        extra = [main.tensor((1, 1, 7), case.dtype, data=slopes)]
    quantization = _RESULT.get((case.kind, case.dtype))
    if quantization is None and case.dtype == "int8":
        quantization = Quantization((0.07,), 11)
    result = main.tensor(
        _NEW_SHAPE.get(case.kind, _SHAPE),
        case.dtype,
        quantization=None if case.kind in _NEW_SHAPE else quantization,
    )
    inputs = [operand, *extra] if case.position == 0 else [*extra, operand]
    main.op(case.kind, inputs, [result], options(case.kind), 2)
    poisoned = main.tensor((1, _FAR // 16), "float32")
    main.op("ADD", [poison, poison], [poisoned], fb.AddOptionsT())
    main.subgraph.outputs = [result, poisoned]
    # Apart, the poison falls on the dead operand; shared, the result is there.
    offsets = dict.fromkeys(range(len(main.subgraph.tensors)), -1)
    offsets[operand] = 0
    offsets[poison] = _FAR
    offsets[result] = 0 if shared else 2 * _FAR
    offsets[poisoned] = 3 * _FAR if shared else 0
    if case.other == "input":
        offsets[extra[0]] = 4 * _FAR
    model.metadata("OfflineMemoryAllocation", plan_bytes(list(offsets.values())))
    return model.finish()


def outputs(data: bytes, inputs: Sequence[Sequence[np.ndarray]]) -> list[bytes]:
    interpreter = open_interpreter(data, 1 << 16)
    found: list[bytes] = []
    for arrays in inputs:
        for index, array in enumerate(arrays):
            interpreter.set_input(array, index)
        interpreter.invoke()
        found += [np.array(interpreter.get_output(k)).tobytes() for k in range(2)]
    return found


@pytest.mark.parametrize("case", cases(), ids=lambda c: "-".join(map(str, c)))
def test_sharing_changes_nothing(case: Case) -> None:
    apart, shared = build(case, shared=False), build(case, shared=True)
    inputs = feeds_for(read(apart).model, random=4, seed=3)
    expected = outputs(apart, inputs)
    assert len(set(expected[::2])) > 3  # the kernel is no constant
    assert outputs(shared, inputs) == expected
    checked = check_plan(read(shared), scratch={}, overwrite_inputs=True)
    assert checked is not None
    assert checked.shared == ((0, len(read(shared).model.subgraphs[0].tensors) - 2, 0),)


def convolution(*, shared: bool) -> bytes:
    """A 1x1 convolution of as many channels as its input has."""
    model = ModelBuilder()
    main = model.subgraph()
    operand = main.tensor((1, 6, 6, 4))
    result = main.convolution(operand, 4, seed=5)
    main.subgraph.inputs, main.subgraph.outputs = [operand], [result]
    model.metadata("OfflineMemoryAllocation", plan_bytes([0, -1, -1, 0 if shared else _FAR]))
    return model.finish()


def test_sharing_corrupts_a_convolution_and_is_refused() -> None:
    apart, shared = convolution(shared=False), convolution(shared=True)
    inputs = feeds_for(read(apart).model, random=4, seed=3)

    def first(data: bytes) -> list[bytes]:
        interpreter = open_interpreter(data, 1 << 16)
        found: list[bytes] = []
        for arrays in inputs:
            interpreter.set_input(arrays[0], 0)
            interpreter.invoke()
            found.append(np.array(interpreter.get_output(0)).tobytes())
        return found

    assert first(apart) != first(shared)
    assert check_plan(read(apart), scratch={}) is not None
    with pytest.raises(PlanError, match="overlap while both are alive"):
        check_plan(read(shared), scratch={}, overwrite_inputs=True)


def test_inputs_are_not_overwritten_unless_permitted() -> None:
    shared = read(build(Case("ADD", "int8", 0, "input"), shared=True))
    with pytest.raises(PlanError, match="overlap"):
        check_plan(shared, scratch={})
    assert check_plan(shared, scratch={}, overwrite_inputs=True) is not None


def test_no_sharing_with_libraries_that_were_not_executed() -> None:
    shared = read(build(Case("ADD", "int8", 0, "input"), shared=True))
    for kernels in (Kernels.CMSIS_NN, Kernels.ESP_NN):
        with pytest.raises(PlanError, match="overlap"):
            check_plan(shared, scratch={}, kernels=kernels, overwrite_inputs=True)


def test_no_sharing_of_a_broadcast_operand() -> None:
    """Sharing a smaller operand is refused, although it corrupts nothing here or there."""
    model = ModelBuilder()
    main = model.subgraph()
    small, wide = main.tensor((1, 1, 1, 4)), main.tensor((1, 2, 2, 4))
    result = main.tensor((1, 2, 2, 4))
    main.op("ADD", [small, wide], [result], fb.AddOptionsT(), 2)
    main.subgraph.inputs, main.subgraph.outputs = [small, wide], [result]
    model.metadata("OfflineMemoryAllocation", plan_bytes([0, 64, 0]))  # both take 16 bytes
    with pytest.raises(PlanError, match="overlap"):
        check_plan(read(model.finish()), scratch={}, overwrite_inputs=True)


def test_no_sharing_before_the_last_use() -> None:
    model = ModelBuilder()
    main = model.subgraph()
    source = main.tensor((1, 2, 2, 4))
    middle = main.add(source, source)
    early = main.add(middle, source)
    late = main.add(middle, early)
    main.subgraph.inputs, main.subgraph.outputs = [source], [late]
    offsets = [0, 16, 32, 16]
    model.metadata("OfflineMemoryAllocation", plan_bytes(offsets))
    checked = check_plan(read(model.finish()), scratch={})
    assert checked is not None
    assert checked.shared == ((0, late, middle),)
    offsets = [0, 16, 16, 32]  # `early` over `middle`, which `late` reads
    model.model.metadata.clear()
    model.metadata("OfflineMemoryAllocation", plan_bytes(offsets))
    with pytest.raises(PlanError, match="overlap"):
        check_plan(read(model.finish()), scratch={})
