"""Emit a planned function for XLA: what is computed again hangs on data.

    plan   a  b  c  d  a'  e'            XLA merges a' with a, and orders what is left by itself
    emit   t = one element of d          late:   ((bits of t) | 1) != 0      true, whatever t is
           a'(select(late, x, 0), w)     not a; not before d

XLA drops control dependencies, merges equal computations, and schedules for itself. Its
OptimizationBarrier is taken out of the program before that on CPUs. What it must respect is data:
an op that runs again reads one of its operands (the smallest: a copy of it may be made) through a
select on a condition that is computed from data which exists only when the plan has come so far.
The condition is always true, and the select hands on the operand's bits as they are, NaN and -0.0
included; XLA's simplifications do not see through it, since they do not follow single bits. If one
ever does, the function computes the same, and needs as much memory as it did: which is why such
functions are measured before they are handed out.

Which ops need it: a repeat whose operands were all there before the repeats that it stands among
began. Others read what was computed again just now, so they are neither equal to their first run
nor early. The token is the result with the most heavy results on its way, the latest of those: in
a backward pass, of the op that came last.

The order in which updates and reads of variables follow each other is that of the control
dependencies, which TensorFlow follows when it hands the function to XLA.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lowtide.backends.tensorflow.reemit import Emitter
from lowtide.tensorflow_types import TfFunction, TfOperation, load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["reemit_xla"]

# Types of tokens, and the integers of the same width.
_BITS = {
    "bfloat16": "int16",
    "float16": "int16",
    "float32": "int32",
    "float64": "int64",
    "int32": "int32",
    "int64": "int64",
}
_HEAVY_PART = 64  # tensors of more than such a part of the largest one make depth
# Results that XLA knows when it compiles: it needs them there, as constants.
_KNOWN = frozenset({"Const", "Rank", "Shape", "ShapeN", "Size"})


def reemit_xla(function: TfFunction, sequence: Sequence[str]) -> TfFunction:
    """A function that XLA compiles, of the same signature and captures, that runs `sequence`.

    Args:
        function: as in `reemit`.
        sequence: as in `reemit`.

    Raises:
        PlanError: as in `reemit`.
    """
    return _XlaEmitter(function).run(sequence)


class _XlaEmitter(Emitter):
    def __init__(self, function: TfFunction) -> None:
        super().__init__(function)
        sizes = [_nbytes(t) for op in self._old.get_operations() for t in op.outputs]
        self._heavy = max(sizes, default=0) // _HEAVY_PART
        self._depth: dict[str, int] = {}  # new tensor -> heavy results on the way to it
        self._known: set[str] = set()  # new tensors that XLA knows when it compiles
        self._fresh: set[str] = set()  # new tensors that hang on the condition at hand
        self._token: Any = None  # the deepest result so far, the latest of them
        self._late: Any = None  # the condition of the repeats at hand; None between repeats
        self._selected: dict[str, Any] = {}

    def _attributes(self) -> dict[str, object]:
        return {"_noinline": True, "_XlaMustCompile": True}

    def _emit(self, op: TfOperation, last: Any) -> Any:
        repeated = op.name in self._ran
        if not repeated and self._late is not None:
            self._late = None
            self._fresh.clear()
            self._selected.clear()
        made = super()._emit(op, last)
        read = [t.name for t in made.inputs]
        known = not op.op_def.is_stateful and all(map(self._is_known, made.inputs))
        depth = max((self._depth.get(name, 0) for name in read), default=0)
        for tensor in made.outputs:
            self._depth[tensor.name] = depth + (_nbytes(tensor) > self._heavy)
            if known or op.type in _KNOWN:
                self._known.add(tensor.name)
            elif repeated:
                if any(name in self._fresh for name in read):
                    self._fresh.add(tensor.name)
            elif tensor.dtype.name in _BITS and _nbytes(tensor) > 0:
                deepest = -1 if self._token is None else self._depth[self._token.name]
                if self._depth[tensor.name] >= deepest:
                    self._token = tensor
        return made

    def _is_known(self, tensor: Any) -> bool:
        return tensor.op.type in _KNOWN or tensor.name in self._known

    def _apart(self, op: TfOperation, inputs: list[Any], last: Any) -> list[Any]:
        if self._runs[op.name] == 1 or any(value.name in self._fresh for value in inputs):
            return inputs
        candidates = [
            (_nbytes(value), position)
            for position, value in enumerate(inputs)
            if _nbytes(value) > 0 and not self._is_known(value)
        ]
        if self._token is None or not candidates:
            return inputs  # made of constants: XLA makes it where it is used
        if self._late is None:
            self._late = self._condition()
            self._fresh.add(self._token.name)
        position = min(candidates)[1]
        value = inputs[position]
        if value.name not in self._selected:
            self._selected[value.name] = self._select(value)
        inputs[position] = self._selected[value.name]
        return inputs

    def _condition(self) -> Any:
        """True, from an element of the token."""
        tensorflow = load_tensorflow()
        token = self._token
        bits = _BITS[token.dtype.name]
        with self._beside("lowtide_late", token):
            rank = token.shape.rank
            element = token
            if rank > 0:
                first = tensorflow.slice(token, [0] * rank, [1] * rank)
                element = tensorflow.reshape(first, [])
            if token.dtype.name != bits:
                element = tensorflow.bitcast(element, bits)
            one, zero = tensorflow.constant(1, bits), tensorflow.constant(0, bits)
            return tensorflow.not_equal(tensorflow.bitwise.bitwise_or(element, one), zero)

    def _select(self, value: Any) -> Any:
        tensorflow = load_tensorflow()
        with self._beside("lowtide_apart", value):
            found = tensorflow.where(self._late, value, tensorflow.zeros([], value.dtype))
        self._fresh.add(found.name)
        depth = max(self._depth.get(t.name, 0) for t in (value, self._token))
        self._depth[found.name] = depth
        return found

    @contextmanager
    def _beside(self, name: str, tensor: Any) -> Generator[None]:
        """Ops are made under a name of their own, on the device of a tensor, behind nothing."""
        tensorflow = load_tensorflow()
        device = tensorflow.device(tensor.op.device or None)
        with self._graph.control_dependencies(None), tensorflow.name_scope(name), device:
            yield


def _nbytes(tensor: Any) -> int:
    """The bytes of a tensor of numbers or truth values; 0 where they are not known."""
    dtype = tensor.dtype
    if not (dtype.is_floating or dtype.is_complex or dtype.is_integer or dtype.is_bool):
        return 0
    return int(tensor.shape.num_elements() or 0) * int(dtype.size)
