"""Which call of `tflite::MicroMutableOpResolver` adds which operator.

The names are those of tensorflow/lite/micro/micro_mutable_op_resolver.h as of 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.backends.c.identifier import identifier
from lowtide.errors import ModelError

if TYPE_CHECKING:
    from lowtide.frontends.tflite import TfliteModel

__all__ = ["BUILTIN_CALLS", "CUSTOM_CALLS", "ResolverOp", "resolver_ops"]

# The kinds of which the call is the name in camel case, as in CONV_2D: AddConv2D.
_KINDS = """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS DEPTH_TO_SPACE DEPTHWISE_CONV_2D
    DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR
    FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF
    L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR
    LOGISTIC LOG_SOFTMAX MAX_POOL_2D MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD
    PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE
    SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE
    STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV UNPACK VAR_HANDLE WHILE ZEROS_LIKE
    """.split()  # noqa: SIM905 - a hundred quoted names are harder to read

BUILTIN_CALLS: dict[str, str] = {
    **{kind: "Add" + "".join(part.capitalize() for part in kind.split("_")) for kind in _KINDS},
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "CONV_2D": "AddConv2D",
    "CUMSUM": "AddCumSum",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "L2_POOL_2D": "AddL2Pool2D",
    "MAX_POOL_2D": "AddMaxPool2D",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}

_CUSTOM = 32  # BuiltinOperator_CUSTOM

# Custom operators whose kernels come with TFLite Micro.
CUSTOM_CALLS: dict[str, str] = {
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "SignalDelay": "AddDelay",
    "SignalEnergy": "AddEnergy",
    "SignalFftAutoScale": "AddFftAutoScale",
    "SignalFilterBank": "AddFilterBank",
    "SignalFilterBankLog": "AddFilterBankLog",
    "SignalFilterBankSpectralSubtraction": "AddFilterBankSpectralSubtraction",
    "SignalFilterBankSquareRoot": "AddFilterBankSquareRoot",
    "SignalFramer": "AddFramer",
    "SignalIrfft": "AddIrfft",
    "SignalOverlapAdd": "AddOverlapAdd",
    "SignalPCAN": "AddPCAN",
    "SignalRfft": "AddRfft",
    "SignalStacker": "AddStacker",
    "SignalWindow": "AddWindow",
    "TFLM_DECODE": "AddDecode",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "ethos-u": "AddEthosU",
}


@dataclass(frozen=True, slots=True)
class ResolverOp:
    """One operator that a resolver needs.

    Attributes:
        kind: the builtin operator's name, or the custom operator's code.
        call: the resolver's method; empty for a custom operator whose kernel the firmware brings.
        register: for such an operator, the name of the function that returns the kernel.
    """

    kind: str
    call: str
    register: str = ""


def resolver_ops(model: TfliteModel) -> tuple[ResolverOp, ...]:
    """The operators of all subgraphs, each kind once, in the order in which they first appear.

    Raises:
        ModelError: TFLite Micro has no kernel for a builtin operator.
    """
    found: dict[tuple[bool, str], ResolverOp] = {}
    taken: set[str] = set()
    for subgraph in model.subgraphs:
        for op in subgraph.operators:
            custom = op.builtin == _CUSTOM
            if (custom, op.kind) in found:
                continue
            call = (CUSTOM_CALLS if custom else BUILTIN_CALLS).get(op.kind, "")
            register = ""
            if not call and not custom:
                raise ModelError(
                    f"TFLite Micro has no kernel for {op.kind} (operator {op.index} of subgraph "
                    f"{subgraph.index}): replace it in the model"
                )
            if not call:
                register = base = f"register_{identifier(op.kind, 'custom')}"
                number = 2
                while register in taken:
                    register, number = f"{base}_{number}", number + 1
                taken.add(register)
            found[custom, op.kind] = ResolverOp(op.kind, call, register)
    return tuple(found.values())
