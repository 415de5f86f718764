"""Models of rows: slices and concatenations along the first axis that is not 1, and additions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lowtide.bench.tflite_builder import TfliteBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RowModel", "random_rows", "split_and_joined"]

_BYTES = {"float32": 4, "int8": 1, "int16": 2}


class RowModel:
    """Tensors [1, rows, 4, channels], every row of 16 bytes unless another width is given."""

    def __init__(self, dtype: str = "int8", row_bytes: int = 16) -> None:
        self.build = TfliteBuilder("rows")
        self.dtype = dtype
        self.channels = row_bytes // 4 // _BYTES[dtype]
        self.rows: dict[int, int] = {}

    def tensor(self, rows: int) -> int:
        scale = None if self.dtype == "float32" else ([0.5], [0], 0)
        made = self.build.tensor(
            f"t{len(self.rows)}",
            (1, rows, 4, self.channels),
            self.dtype.upper(),
            quantization=scale,
        )
        self.rows[made] = rows
        return made

    def constant(self, values: Sequence[int]) -> int:
        data = np.array(values, np.int32)
        return self.build.tensor(f"c{values}", [len(values)], "INT32", data=data)

    def double(self, x: int) -> int:
        made = self.tensor(self.rows[x])
        self.build.op("ADD", [x, x], [made], "AddOptions", version=2)
        return made

    def cut(self, x: int, start: int, stop: int, kind: str = "SLICE") -> int:
        made = self.tensor(stop - start)
        begin = self.constant((0, start, 0, 0))
        if kind == "SLICE":
            size = self.constant((1, stop - start, 4, self.channels))
            self.build.op("SLICE", [x, begin, size], [made])
        else:
            end = self.constant((1, stop, 4, self.channels))
            steps = self.constant((1, 1, 1, 1))
            self.build.op(
                "STRIDED_SLICE", [x, begin, end, steps], [made], "StridedSliceOptions", version=2
            )
        return made

    def join(self, parts: Sequence[int], axis: int = 1) -> int:
        made = self.tensor(sum(self.rows[p] for p in parts))
        values = {"axis": axis}
        self.build.op(
            "CONCATENATION", parts, [made], "ConcatenationOptions", values=values, version=2
        )
        return made

    def data(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        self.build.inputs(*inputs)
        self.build.outputs(*outputs)
        return self.build.data()


def split_and_joined(dtype: str = "int8", kind: str = "SLICE", row_bytes: int = 16) -> bytes:
    """Doubled, cut into two halves that overlap, each doubled, joined."""
    model = RowModel(dtype, row_bytes)
    x = model.tensor(8)
    y = model.double(x)
    halves = [model.cut(y, 0, 5, kind), model.cut(y, 3, 8, kind)]
    joined = model.join([model.double(half) for half in halves])
    return model.data([x], [joined])


def random_rows(seed: int, operators: int = 14) -> bytes:
    """Any of that in any order; what nobody reads is an output."""
    rng = np.random.default_rng(seed)
    model = RowModel(row_bytes=int(rng.choice([16, 16, 32, 8])))
    first = model.tensor(6)
    values, read = [first], set[int]()
    for _ in range(operators):
        choice = int(rng.integers(0, 7))
        x = values[int(rng.integers(max(0, len(values) - 6), len(values)))]
        read.add(x)
        if choice < 2 or model.rows[x] > 24:
            values.append(model.double(x))
        elif choice < 4:
            start = int(rng.integers(0, model.rows[x]))
            stop = int(rng.integers(start + 1, model.rows[x] + 1))
            kind = "SLICE" if rng.random() < 0.6 else "STRIDED_SLICE"
            values.append(model.cut(x, start, stop, kind))
        elif choice == 6:  # read by nothing else: what is written over it is sure
            parts = [model.double(x), model.double(values[0])]
            values.append(model.double(model.join(parts)))
        else:
            parts = [x, *(int(p) for p in rng.choice(values, int(rng.integers(1, 3))))]
            read.update(parts)
            values.append(model.join(parts))
    return model.data([first], [v for v in values if v not in read])
