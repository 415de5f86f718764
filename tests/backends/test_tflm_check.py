"""The checker attacked: plans with one or two offsets moved, executed byte by byte and for real."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lowtide.backends.tflite import emit
from lowtide.backends.tflite.tflm import METADATA, check_offsets, measure_scratch, plan_offsets
from lowtide.backends.tflite.tflm.feeds import feeds_for
from lowtide.backends.tflite.tflm.interpreter import open_interpreter
from lowtide.errors import PlanError
from lowtide.frontends.tflite import read
from tests.backends.tflm_models import plan_bytes, random_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.backends.tflite.tflm.lifetimes import Scratch
    from lowtide.frontends.tflite import TfliteModel

_ELEMENTWISE = {"ADD", "RELU", "RESHAPE"}


def intact(model: TfliteModel, offsets: Sequence[int]) -> bool:
    """Run the main subgraph on the owners of bytes: is everything that is read what was written?"""
    main = model.subgraphs[0]
    owner: dict[int, int] = {}

    def place(tensor: int) -> range:
        held = main.tensors[tensor]
        if held.constant:
            return range(0)
        return range(offsets[tensor], offsets[tensor] + held.nbytes)

    def holds(tensor: int) -> bool:
        return all(owner.get(byte) == tensor for byte in place(tensor))

    for tensor in main.inputs:
        owner.update(dict.fromkeys(place(tensor), tensor))
    if not all(holds(tensor) for tensor in main.inputs):
        return False  # the caller's inputs overwrite each other
    for operator in main.operators:
        if not all(holds(tensor) for tensor in operator.inputs):
            return False
        for result in operator.outputs:
            touched = {owner.get(byte) for byte in place(result)} & set(operator.inputs)
            for operand in touched:
                if operand is None or operator.kind not in _ELEMENTWISE:
                    return False
                if place(operand) != place(result):
                    return False
            owner.update(dict.fromkeys(place(result), result))
    return all(holds(tensor) for tensor in main.outputs)


def outputs(data: bytes, inputs: Sequence[Sequence[np.ndarray]], count: int) -> list[bytes]:
    interpreter = open_interpreter(data, 1 << 18)
    found: list[bytes] = []
    for arrays in inputs:
        for index, array in enumerate(arrays):
            interpreter.set_input(array, index)
        interpreter.invoke()
        found += [np.array(interpreter.get_output(k)).tobytes() for k in range(count)]
    return found


def accepted(model: TfliteModel, offsets: Sequence[int], scratch: Scratch) -> bool:
    try:
        check_offsets(model, offsets, scratch=scratch)
    except PlanError:
        return False
    return True


@pytest.mark.parametrize("seed", range(8))
def test_what_the_checker_accepts_keeps_every_byte(seed: int) -> None:
    data, _ = random_model(seed)
    source = read(data)
    model = source.model
    scratch = measure_scratch(source).sizes
    plan = plan_offsets(model, scratch=scratch)
    assert intact(model, plan.offsets)
    order = range(len(model.subgraphs[0].operators))
    count = len(model.subgraphs[0].outputs)
    inputs = feeds_for(model, random=2, seed=seed)
    expected = outputs(data, inputs, count)
    rng = np.random.default_rng(seed)
    movable = [index for index, offset in enumerate(plan.offsets) if offset >= 0]
    refused = corrupt = 0
    for _ in range(40):
        offsets = list(plan.offsets)
        for index in rng.choice(movable, int(rng.integers(1, 3))):
            offsets[index] = 16 * int(rng.integers(0, plan.head_bytes // 16 + 2))
        if accepted(model, offsets, scratch):
            assert intact(model, offsets)
            moved = emit(source, order, metadata={METADATA: plan_bytes(offsets)})
            assert outputs(moved, inputs, count) == expected
        else:
            refused += 1
            corrupt += not intact(model, offsets)
    assert 0 < corrupt <= refused < 40
