"""What a function needs where XLA compiles it: XLA's own assignment of buffers.

    parent: export the function ─▶ child: XLA compiles it ─▶ HloProto.buffer_assignment

    argument | variable              the caller's               not counted
    constant | thread-local          in the program             not counted
    preallocated-temp                all that lives inside      counted: one allocation, packed
    maybe-live-out                   results                    counted

The compiled program takes the counted allocations when it starts and runs within them, so their sum
is its peak; a variable's new value is written over the old one's bytes. Scratch memory that a
kernel takes from the operating system by itself is not in it. The function is compiled for the CPU
and not run.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lowtide import child
from lowtide.backends.tensorflow.portable import export_function, import_call
from lowtide.errors import InputError
from lowtide.tensorflow_types import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.tensorflow_types import TfFunction

__all__ = ["XlaMemory", "assigned", "compiled_program", "measure_xla"]

_DEVICE = "/job:localhost/replica:0/task:0/device:CPU:0"
_STAGE = "optimized_hlo_proto_serialized"
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class XlaMemory:
    """What XLA allocates for one call.

    Attributes:
        temporary_bytes: what lives inside of the call.
        result_bytes: results that are not written over variables.
    """

    temporary_bytes: int
    result_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Both, which are allocated together."""
        return self.temporary_bytes + self.result_bytes


def measure_xla(function: TfFunction) -> XlaMemory:
    """Compile a `ConcreteFunction` with XLA in a child process; what it allocates.

    Raises:
        InputError: XLA cannot compile it, or it cannot be sent to another process.
        ChildError: the process died.
    """
    with tempfile.TemporaryDirectory(prefix="lowtide-tf-") as folder:
        request = export_function(function, Path(folder))
        reply = child.run(
            "lowtide.backends.tensorflow.measure_xla:xla_child", request, timeout_s=_TIMEOUT_S
        )
    return XlaMemory(int(cast("int", reply["temporary"])), int(cast("int", reply["results"])))


def xla_child(request: dict[str, object]) -> dict[str, object]:
    """The child's side of `measure_xla`."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    tensorflow = load_tensorflow()
    call = import_call(request, b"")
    given = len(call.inputs) - call.captured
    specs = [tensorflow.TensorSpec(t.shape, t.dtype) for t in call.inputs[:given]]
    captured = [getattr(i, "handle", i) for i in call.inputs[given:]]
    found = assigned(compiled_program(call.name, specs, captured))
    return {"temporary": found.temporary_bytes, "results": found.result_bytes}


def compiled_program(name: str, specs: Sequence[object], captured: Sequence[object]) -> bytes:
    """What XLA makes of a function of this process, for the CPU: a serialized `HloProto`.

    Args:
        name: of the function.
        specs: a TensorSpec for each of its arguments.
        captured: its other inputs: tensors, and handles of variables.

    Raises:
        InputError: XLA cannot compile it.
    """
    tensorflow = load_tensorflow()
    context: Any = load_tensorflow("tensorflow.python.eager.context").context()
    try:
        compiled = context.get_compiler_ir(
            device_name=_DEVICE,
            platform_name=None,
            function_name=name,
            flat_args=list(specs),
            captured_inputs=list(captured),
            stage=_STAGE,
        )
    except (tensorflow.errors.OpError, ValueError, TypeError) as error:
        text = str(error).splitlines()[0][:500] if str(error) else type(error).__name__
        raise InputError(f"XLA cannot compile the function: {text}") from None
    return cast("bytes", compiled)


def assigned(compiled: bytes) -> XlaMemory:
    """The buffers of a compiled program.

    Args:
        compiled: a serialized `HloProto` with its buffer assignment.
    """
    proto = load_tensorflow("tensorflow.compiler.xla.service.hlo_pb2").HloProto()
    proto.ParseFromString(compiled)
    temporary = results = 0
    for allocation in proto.buffer_assignment.buffer_allocations:
        if allocation.is_constant or allocation.is_thread_local:
            continue
        if allocation.is_entry_computation_parameter:
            continue
        if allocation.maybe_live_out:
            results += allocation.size
        else:
            temporary += allocation.size
    return XlaMemory(temporary, results)
