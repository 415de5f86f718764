"""What TensorFlow's CPU kernels do with memory: views, and results written over operands.

Sources: `core/kernels` of TensorFlow 2.21 (`forward_input_or_allocate_output`, `set_output` of an
input, `CopyFrom`), checked against the allocator's log in tests.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, cast

from lowtide.frontends.tensorflow.dtypes import element_type
from lowtide.ir import InPlace, Traits
from lowtide.ir.dtype import nbytes
from lowtide.tensorflow_types import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.tensorflow_types import TfOperation, TfTensor

__all__ = ["foldable", "forwarded", "op_traits", "pooling_workspace", "viewed"]


class _Ints(Protocol):
    @property
    def i(self) -> Sequence[int]: ...


class _Value(Protocol):
    @property
    def list(self) -> _Ints: ...


class _Node(Protocol):
    @property
    def attr(self) -> Mapping[str, _Value]: ...


# Operators whose every output i is input i, or output 0 input 0, with the same bytes.
_VIEWS = frozenset(
    {"Bitcast", "CheckNumerics", "EnsureShape", "ExpandDims", "Identity", "PlaceholderWithDefault"}
    | {"PreventGradient", "Reshape", "Snapshot", "Squeeze", "StopGradient"}
    | {"_MklReshape", "XlaSharding", "OptimizationBarrier"}
)
_VIEWS_OF_EQUAL = frozenset({"Pad", "PadV2", "Tile", "BroadcastTo"})
_VIEWS_EACH = frozenset({"IdentityN"})

# out 0 over in 0 (`UnaryElementWiseOp`, `UnaryOp` of equal types, and kernels of their own).
_UNARY = frozenset(
    {"Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Digamma"}
    | {"Erf", "Erfc", "Exp", "Expm1", "Floor", "Inv", "Invert", "Lgamma", "Log", "Log1p"}
    | {"LogicalNot", "Ndtri", "Neg", "Reciprocal", "Rint", "Round", "Rsqrt", "Sigmoid", "Sign"}
    | {"Sin", "Sinh", "Sqrt", "Square", "Tan", "Tanh", "Erfinv"}
    | {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Softplus", "Softsign"}
    | {"BiasAdd", "BiasAddV1", "ClipByValue", "FusedBatchNorm", "FusedBatchNormV2"}
    | {"FusedBatchNormV3", "LogSoftmax", "OnesLike", "Softmax", "ZerosLike"}
)
# out 0 over in 0, else in 1 (`BinaryOp`, `SimpleBinaryOp`, `BinaryElementWiseOp`).
_BINARY = frozenset(
    {"Add", "AddV2", "Atan2", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "DivNoNan"}
    | {"FloorDiv", "FloorMod", "LeftShift", "LogicalAnd", "LogicalOr", "Maximum", "Minimum"}
    | {"Mod", "Mul", "MulNoNan", "Pow", "RealDiv", "RightShift", "SquaredDifference", "Sub"}
    | {"TruncateDiv", "TruncateMod", "Xdivy", "Xlogy", "Xlog1py"}
    | {"InvGrad", "ReciprocalGrad", "RsqrtGrad", "SigmoidGrad", "SqrtGrad", "TanhGrad"}
    | {"ReluGrad", "Relu6Grad", "EluGrad", "SeluGrad", "LeakyReluGrad", "SoftplusGrad"}
    | {"SoftsignGrad"}
)
_EVERY = frozenset({"AddN", "AccumulateNV2"})
_CROSS_ENTROPY = frozenset({"SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits"})

_COMMUTES = frozenset({"Add", "AddV2", "AddN", "Mul", "Maximum", "Minimum", "Equal", "NotEqual"})
_FOLDED_BYTES = 10 << 20  # `kMaxConstantSize` of constant_folding.cc
_READS = frozenset({"ReadVariableOp", "VariableV2", "VarHandleOp"})
# Without state, but with a body: opaque, run once.
_BODIES = frozenset({"Case", "If", "PartitionedCall", "StatelessCase", "StatelessIf"})
_LOOPS = frozenset({"StatelessWhile", "While"})


def viewed(op: TfOperation, output: int) -> int | None:
    """The input whose storage an output shares, or None."""
    if op.type in _VIEWS and output == 0:
        return 0
    if op.type in _VIEWS_EACH:
        return output
    if op.type == "ReadVariableOp":
        return 0
    kept = {"AddN": 1, "ConcatV2": 2, "Concat": 2}.get(op.type)  # of one operand: handed through
    if kept == len(op.inputs):
        return 0 if op.type != "Concat" else 1
    if op.type == "Split" and _leading(op):
        return 1
    if op.type == "Cast" and op.inputs[0].dtype.base_dtype == op.outputs[0].dtype.base_dtype:
        return 0
    if op.type in _VIEWS_OF_EQUAL:
        same = op.inputs[0].shape.as_list() == op.outputs[0].shape.as_list()
        return 0 if same else None
    return None


def _leading(op: TfOperation) -> bool:
    """Whether a split is along the first dimension: then the parts are slices of the operand.

    TensorFlow slices where every part is aligned; the parts' addresses are then the operand's plus
    multiples of 64 bytes.
    """
    if op.inputs[0].op.type != "Const":
        return False
    tensor = load_tensorflow("tensorflow.python.framework.tensor_util")
    axis = int(tensor.constant_value(op.inputs[0]))
    sizes = [math.prod(t.shape.as_list()) * _width(t) for t in op.outputs]
    return axis in (0, -len(op.inputs[1].shape.as_list())) and all(n % 64 == 0 for n in sizes)


def _width(tensor: TfTensor) -> int:
    return nbytes(element_type(tensor.dtype), (1,))


def forwarded(op: TfOperation) -> tuple[InPlace, ...]:
    """Which outputs may be written over which inputs, in the kernel's order of preference.

    That dtype and number of elements agree is for the caller to check.
    """
    if op.type in _UNARY:
        return (InPlace(0, 0),)
    if op.type in _BINARY:
        return (InPlace(0, 0), InPlace(0, 1))
    if op.type in _EVERY:
        return tuple(InPlace(0, index) for index in range(len(op.inputs)))
    if op.type in _CROSS_ENTROPY:
        return (InPlace(1, 0),)
    if op.type in ("Select", "SelectV2"):
        return (InPlace(0, 1), InPlace(0, 2))
    return ()


def foldable(op: TfOperation) -> bool:
    """Whether TensorFlow computes an op of constant operands once, when it prepares the function.

    The results are constants then, for as long as the function lives. Larger ones are not folded.
    """
    if op.op_def.is_stateful or not op.inputs or op.type in _BODIES or op.type in _LOOPS:
        return False
    if not all(t.shape.is_fully_defined() for t in op.outputs):
        return False
    return all(math.prod(t.shape.as_list()) * _width(t) <= _FOLDED_BYTES for t in op.outputs)


def pooling_workspace(op: TfOperation) -> tuple[str, int] | None:
    """The pooling op whose winners oneDNN hands to its gradient `op`, and their bytes; else None.

    oneDNN's graph pass gives such a pair an edge of its own: where each maximum was, as a byte per
    result (four where the window has more than 255 places).
    """
    if op.type not in ("MaxPoolGrad", "MaxPool3DGrad") or not _onednn():
        return None
    pooled = op.inputs[1]
    forward = pooled.op
    same = forward.type == op.type.removesuffix("Grad") and forward.inputs[0] is op.inputs[0]
    if not same or pooled.dtype.name not in ("float32", "bfloat16", "float16"):
        return None
    node = cast("_Node", forward.node_def)
    window = math.prod(node.attr["ksize"].list.i)
    return pooled.name, math.prod(pooled.shape.as_list()) * (1 if window <= 255 else 4)


def _onednn() -> bool:
    port = load_tensorflow("tensorflow.python.util._pywrap_util_port")
    return bool(port.IsMklEnabled())


def op_traits(op: TfOperation, *, view: bool) -> Traits:
    """What a planner may do with an op.

    Everything that TensorFlow registers as stateful runs once and in order, random operators
    (`tf.random.*`, `tf.nn.dropout`) among them. Stateless random ones give the same numbers again.
    A variable is read once: the value that was read stays what it was, whatever is assigned later.
    """
    if op.type in _READS:
        return Traits(once=True, view=view)
    if op.op_def.is_stateful:
        return Traits(pinned=True, random="Random" in op.type or "Multinomial" in op.type)
    return Traits(
        once=op.type in _BODIES or op.type in _LOOPS or op.type == "NoOp",
        view=view,
        commutes=op.type in _COMMUTES,
    )
