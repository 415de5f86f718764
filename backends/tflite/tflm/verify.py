"""Measure a model in stock TFLite Micro, and compare a result with the model that it was made from.

    required arena = max(head + tail, what the initialisation takes with the planner's temporaries)

It is found by execution: the least size, in steps of 16 bytes, in which tensors are allocated and
an inference runs.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from lowtide import child
from lowtide.backends.tflite.emit import emit
from lowtide.backends.tflite.tflm.breakdown import weights_bytes
from lowtide.backends.tflite.tflm.feeds import feeds_for
from lowtide.backends.tflite.tflm.lifetimes import ALIGNMENT, arena_bytes, resource_handles
from lowtide.backends.tflite.tflm.metadata import METADATA, encode_offsets
from lowtide.backends.tflite.tflm.planner import ONLINE
from lowtide.backends.tflite.tflm.scratch import ARENA_LIMIT, MEMORY_LIMIT
from lowtide.errors import ModelError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from lowtide.frontends.tflite import TfliteSource

    Feeds = Sequence[Sequence[NDArray[np.generic]]]

__all__ = [
    "TflmMeasurement",
    "TflmVerification",
    "litert_difference",
    "measure",
    "tflm_difference",
    "verify_in_tflm",
]

_PACKAGE = "lowtide.backends.tflite.tflm"


@dataclass(frozen=True, slots=True)
class TflmMeasurement:
    """What the interpreter recorded, on the host's pointer width.

    Attributes:
        head_bytes: tensors and scratch, as planned; the part of the arena that a plan changes.
        tail_bytes: what persists: structures, variables, the kernels' own data.
        required_bytes: the least arena in which the model loads and runs.
        fails_below: 16 bytes less were tried and did not work.
        categories: parts of the tail, by TFLM's names.
        weights_bytes: data of constant tensors, which stays in flash.
    """

    head_bytes: int
    tail_bytes: int
    required_bytes: int
    fails_below: bool
    categories: Mapping[str, int]
    weights_bytes: int

    @property
    def total_bytes(self) -> int:
        """Head and tail: what `arena_used_bytes` returns."""
        return self.head_bytes + self.tail_bytes

    @property
    def initialisation_bytes(self) -> int:
        """What the initialisation needs beyond head and tail; 0 where they cover it."""
        return self.required_bytes - self.total_bytes


@dataclass(frozen=True, slots=True)
class TflmVerification:
    """A result beside the model that it was made from, both executed.

    Attributes:
        before: the original.
        after: the result.
        predicted_head_bytes: what the plan said of the result.
        executions: how many inputs both were run on; every output was the same bits.
        litert: whether they are also the same in LiteRT; None where LiteRT does not run the model.
    """

    before: TflmMeasurement
    after: TflmMeasurement
    predicted_head_bytes: int
    executions: int
    litert: bool | None


def measure(source: TfliteSource, *, seed: int = 0, timeout_s: float = 300.0) -> TflmMeasurement:
    """Run a model in the stock interpreter, in a child, and measure its arena.

    Raises:
        ModelError: TFLite Micro refuses the model, or wants an arena of over 1 GiB.
        ChildError: it crashed or took too long.
        MissingExtraError: `tflite-micro` is not installed.
    """
    with _files(source.data, feeds=feeds_for(source.model, random=1, seed=seed)[:1]) as files:
        reply = child.run(
            f"{_PACKAGE}.interpreter:measure",
            {"model": files.models[0], "limit": ARENA_LIMIT, "inputs": files.inputs[0]},
            timeout_s=timeout_s,
            memory_limit_bytes=MEMORY_LIMIT,
        )
    numbers = {k: int(cast("int", reply[k])) for k in ("head", "tail", "required")}
    return TflmMeasurement(
        head_bytes=numbers["head"],
        tail_bytes=numbers["tail"],
        required_bytes=numbers["required"],
        fails_below=bool(reply["fails_below"]),
        categories=cast("dict[str, int]", reply["categories"]),
        weights_bytes=weights_bytes(source.model),
    )


def verify_in_tflm(
    source: TfliteSource,
    result: TfliteSource,
    *,
    predicted_head_bytes: int,
    random: int = 3,
    seed: int = 0,
    litert: bool = True,
    timeout_s: float = 300.0,
) -> TflmVerification:
    """Execute the original and the result, each in exactly the arena that it requires.

    Args:
        source: the original.
        result: the emitted model, read again.
        predicted_head_bytes: the plan's head.
        random: how many random inputs, beside the boundaries of the ranges.
        seed: of the inputs.
        litert: whether to compare them in LiteRT too.
        timeout_s: for each child process.

    Raises:
        VerificationError: outputs differ, or the head is not as predicted.
        ModelError: TFLite Micro refuses the original.
        ChildError: it crashed or took too long.
    """
    before = measure(source, seed=seed, timeout_s=timeout_s)
    after = measure(result, seed=seed, timeout_s=timeout_s)
    if after.head_bytes != predicted_head_bytes:
        raise VerificationError(
            f"TFLite Micro's arena head is {after.head_bytes} bytes, the plan predicted "
            f"{predicted_head_bytes}: please report this model"
        )
    inputs = feeds_for(source.model, random=random, seed=seed)
    difference = tflm_difference(
        source,
        result.data,
        inputs,
        arenas=(before.required_bytes, after.required_bytes),
        timeout_s=timeout_s,
    )
    if difference is not None:
        why = ""
        if _depends_on_layout(source, inputs, before.required_bytes, timeout_s):
            why = (
                " (so it does with the original alone, its tensors moved apart: a kernel reads "
                "bytes that nothing wrote, as with shapes that change at run time)"
            )
        raise VerificationError(f"in TFLite Micro {difference}{why}: nothing was written")
    same: bool | None = None
    if litert:
        with contextlib.suppress(ModelError):  # it lacks an operator
            difference = litert_difference(source, result.data, inputs, timeout_s=timeout_s)
            same = difference is None
    if difference is not None:
        raise VerificationError(f"in LiteRT {difference}: nothing was written")
    return TflmVerification(before, after, predicted_head_bytes, len(inputs), same)


def tflm_difference(
    source: TfliteSource,
    result: bytes | memoryview,
    inputs: Feeds,
    *,
    arenas: tuple[int, int] = (ARENA_LIMIT, ARENA_LIMIT),
    timeout_s: float = 300.0,
) -> str | None:
    """What differs between the outputs of two models in TFLite Micro; None if nothing does.

    Raises:
        ModelError: it refuses one of them, or an arena.
        ChildError: it crashed or took too long.
    """
    with _files(source.data, result, feeds=inputs) as files:
        reply = child.run(
            f"{_PACKAGE}.compare:compare_tflm",
            {
                "models": files.models,
                "arenas": list(arenas),
                "inputs": files.inputs,
                "outputs": len(source.model.subgraphs[0].outputs),
            },
            timeout_s=timeout_s,
            memory_limit_bytes=MEMORY_LIMIT,
        )
    return cast("str | None", reply["difference"])


def litert_difference(
    source: TfliteSource, result: bytes | memoryview, inputs: Feeds, *, timeout_s: float = 300.0
) -> str | None:
    """The same in LiteRT, without XNNPACK.

    Raises:
        ModelError: it refuses one of them.
        ChildError: it crashed or took too long.
    """
    with _files(source.data, result, feeds=inputs) as files:
        reply = child.run(
            f"{_PACKAGE}.compare:compare_litert",
            {"models": files.models, "inputs": files.inputs},
            timeout_s=timeout_s,
            memory_limit_bytes=MEMORY_LIMIT,
        )
    return cast("str | None", reply["difference"])


def _depends_on_layout(
    source: TfliteSource, inputs: Feeds, required_bytes: int, timeout_s: float
) -> bool:
    """Whether the original's own results change when every tensor has a place of its own."""
    at = 0
    offsets: list[int] = []
    handles = resource_handles(source.model)
    for subgraph in source.model.subgraphs:
        for tensor in subgraph.tensors:
            own = (subgraph.index, tensor.index) in handles
            nbytes = 0 if own else arena_bytes(source.model, tensor)
            offsets.append(at if nbytes else ONLINE)
            at += -(-nbytes // ALIGNMENT) * ALIGNMENT
    order = range(len(source.model.subgraphs[0].operators))
    apart = emit(source, order, metadata={METADATA: encode_offsets(source.model, offsets)})
    arenas = (required_bytes, min(2 * (at + required_bytes), ARENA_LIMIT))
    return tflm_difference(source, apart, inputs, arenas=arenas, timeout_s=timeout_s) is not None


@dataclass(frozen=True, slots=True)
class _Files:
    models: list[str]
    inputs: list[str]


@contextlib.contextmanager
def _files(*models: bytes | memoryview, feeds: Feeds) -> Generator[_Files]:
    """Models and inputs in temporary files, for a child."""
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        paths: list[str] = []
        for number, data in enumerate(models):
            path = Path(folder, f"{number}.tflite")
            path.write_bytes(data)
            paths.append(str(path))
        inputs: list[str] = []
        for number, arrays in enumerate(feeds):
            path = Path(folder, f"{number}.npz")
            np.savez(path, allow_pickle=False, **{str(i): a for i, a in enumerate(arrays)})
            inputs.append(str(path))
        yield _Files(paths, inputs)
