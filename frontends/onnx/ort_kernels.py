"""The table of ONNX Runtime's CPU kernels: views, in-place candidates, scratch (1.31).

From the kernels' registrations (`KernelDefBuilder().Alias(...)`, `.MayInplace(...)`) as executions
show them: `bench/probe_kernels.py` measures every row. Element-wise arithmetic has no in-place
candidates on purpose: Add, Mul, Neg, Exp and their like register none in this version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lowtide.frontends.onnx import ort_workspace as workspace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lowtide.frontends.onnx.ort_workspace import Rule

__all__ = ["KERNELS", "Kernel"]


class Kernel(NamedTuple):
    """A row of the table.

    Attributes:
        aliases: (output, input) pairs that always share storage.
        in_place: (output, input) candidates in the kernel's order; the planner takes the first
            input that dies here and has the result's element size and shape.
        workspace: the rule for the scratch; None where it is not known.
    """

    aliases: tuple[tuple[int, int], ...] = ()
    in_place: tuple[tuple[int, int], ...] = ()
    workspace: Rule | None = workspace.nothing


def _rows(domain: str, kinds: str, kernel: Kernel) -> Iterable[tuple[tuple[str, str], Kernel]]:
    return (((domain, kind), kernel) for kind in kinds.split())


_MS, _NCHWC = "com.microsoft", "com.microsoft.nchwc"
_FIRST = ((0, 0),)
_PLAIN = Kernel()
_VIEW = Kernel(aliases=_FIRST)
_OVER_FIRST = Kernel(in_place=_FIRST)


_BATCH_NORMALIZATION = Kernel(((1, 3), (2, 4)), workspace=workspace.batch_normalization)


def _scratch(rule: Rule) -> Kernel:
    return Kernel(workspace=rule)


KERNELS: dict[tuple[str, str], Kernel] = dict(
    [
        *_rows("", "Flatten Identity OptionalGetElement Reshape Squeeze Unsqueeze", _VIEW),
        *_rows("", "Celu Clip Elu HardSigmoid LeakyRelu Relu Selu Shrink", _OVER_FIRST),
        *_rows("", "Sigmoid Softplus Softsign Tanh ThresholdedRelu", _OVER_FIRST),
        *_rows("", "Cast ScatterElements Trilu", _OVER_FIRST),
        *_rows("", "Softmax LogSoftmax", Kernel(in_place=_FIRST, workspace=workspace.softmax)),
        *_rows("", "Hardmax", _scratch(workspace.softmax)),
        # convolutions and pooling
        *_rows("", "Conv", _scratch(workspace.conv)),
        *_rows(_MS, "FusedConv", Kernel(in_place=((0, 3),), workspace=workspace.conv)),
        *_rows(_NCHWC, "Conv", Kernel(in_place=((0, 3),))),
        *_rows(_NCHWC, "AveragePool GlobalAveragePool GlobalMaxPool MaxPool", _PLAIN),
        *_rows(_NCHWC, "ReorderInput ReorderOutput Upsample", _PLAIN),
        *_rows("", "ConvTranspose", _scratch(workspace.conv_transpose)),
        *_rows("", "ConvInteger", _scratch(workspace.conv_integer)),
        *_rows("", "QLinearConv", _scratch(workspace.qlinear_conv)),
        *_rows(_MS, "QLinearConv", _scratch(workspace.qlinear_conv)),
        *_rows("", "AveragePool GlobalAveragePool GlobalMaxPool LpPool MaxPool MaxUnpool", _PLAIN),
        *_rows("", "LRN", _scratch(workspace.lrn)),
        *_rows("", "Resize", _scratch(workspace.resize)),
        *_rows("", "AffineGrid Col2Im DepthToSpace GridSample RoiAlign SpaceToDepth", _PLAIN),
        *_rows("", "NonMaxSuppression", _PLAIN),
        # matrices
        *_rows("", "Gemm MatMul MatMulInteger Det", _PLAIN),
        *_rows(_MS, "FusedGemm FusedMatMul MatMulIntegerToFloat MatMulNBits", _PLAIN),
        *_rows("", "QLinearMatMul", _scratch(workspace.qlinear_matmul)),
        *_rows(_MS, "QGemm", _scratch(workspace.qgemm)),
        *_rows(_MS, "DynamicQuantizeMatMul", _scratch(workspace.dynamic_quantize_matmul)),
        # normalization, attention, recurrence
        *_rows("", "BatchNormalization", _BATCH_NORMALIZATION),
        *_rows("", "InstanceNormalization LayerNormalization LpNormalization", _PLAIN),
        *_rows("", "RMSNormalization RotaryEmbedding SimplifiedLayerNormalization", _PLAIN),
        *_rows(_MS, "SkipLayerNormalization SkipSimplifiedLayerNormalization", _PLAIN),
        *_rows(_MS, "EmbedLayerNormalization", _PLAIN),
        *_rows("", "Attention", _scratch(workspace.attention_standard)),
        *_rows(_MS, "Attention", _scratch(workspace.attention)),
        *_rows(_MS, "MultiHeadAttention", _scratch(workspace.multi_head_attention)),
        *_rows("", "Gelu", _PLAIN),
        *_rows(_MS, "Gelu QuickGelu", _PLAIN),
        *_rows(_MS, "BiasGelu FastGelu", _scratch(workspace.bias_gelu)),
        *_rows("", "GRU", _scratch(workspace.gru)),
        *_rows("", "LSTM", _scratch(workspace.lstm)),
        *_rows("", "RNN", _scratch(workspace.rnn)),
        # element-wise
        *_rows("", "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor", _PLAIN),
        *_rows("", "IsInf IsNaN Log Neg Not Reciprocal Round Sign Sin Sinh Sqrt Tan", _PLAIN),
        *_rows("", "Add And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Div", _PLAIN),
        *_rows("", "Equal Greater GreaterOrEqual Less LessOrEqual Mod Mul Or PRelu", _PLAIN),
        *_rows("", "Pow Sub Xor Dropout", _PLAIN),
        *_rows("", "Max Mean Min Sum", _scratch(workspace.variadic)),
        *_rows("", "Where", _scratch(workspace.where)),
        # reductions, data movement, generators
        *_rows("", "ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp", _PLAIN),
        *_rows("", "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum", _PLAIN),
        *_rows("", "ReduceSumSquare TopK NonZero Unique Compress OneHot", _PLAIN),
        *_rows("", "Concat Expand Gather GatherElements GatherND Pad ReverseSequence", _PLAIN),
        *_rows("", "ScatterND Slice Split Tile Transpose Shape Size", _PLAIN),
        *_rows("", "BlackmanWindow ConstantOfShape EyeLike HammingWindow HannWindow", _PLAIN),
        *_rows("", "MelWeightMatrix Range OptionalHasElement TfIdfVectorizer", _PLAIN),
        # quantized
        *_rows("", "DequantizeLinear DynamicQuantizeLinear QuantizeLinear", _PLAIN),
        *_rows(_MS, "QLinearAdd QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu", _PLAIN),
        *_rows(_MS, "QLinearMul QLinearSigmoid", _PLAIN),
        *_rows(_MS, "QLinearAveragePool", _scratch(workspace.qlinear_average_pool)),
    ]
)
