"""What a conversion is asked for, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, cast

__all__ = ["Conversion", "Format", "Place", "Quantize", "Remaining", "from_reply"]

Format: TypeAlias = Literal["savedmodel", "tflite"]
Quantize: TypeAlias = Literal["none", "float16", "int8", "qdq"]
Place: TypeAlias = Literal["input", "output", "inside"]


@dataclass(frozen=True, slots=True)
class Remaining:
    """A transpose that is left.

    Attributes:
        name: of the op, which begins with the ONNX node's, or of the .tflite's tensor.
        shape: of its result; None for an open dimension.
        place: at the model's input, at its output, or inside.
    """

    name: str
    shape: tuple[int | None, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Conversion:
    """A model that was written.

    Attributes:
        path: the .tflite, or the folder of the SavedModel.
        inputs: the names of the signature's inputs, as in the ONNX model.
        outputs: the names of its outputs, as in the ONNX model.
        operators: how many ops of each kind the result has.
        transposes: those that are left.
        numerics: `close` (within the tolerance), or `skipped`.
        max_abs_error: the largest difference from ONNX Runtime's outputs.
        max_rel_error: the same, relative to the largest element of the output.
        tolerance: what max_rel_error had to stay below (the mean error, for int8).
        seconds: `load`, `emit`, `write`, `verify`.
        notes: what the user should know.
    """

    path: Path
    format: Format
    quantize: Quantize
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: Mapping[str, int]
    transposes: tuple[Remaining, ...]
    numerics: Literal["close", "skipped"]
    max_abs_error: float
    max_rel_error: float
    tolerance: float
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    notes: tuple[str, ...] = ()

    @property
    def report(self) -> dict[str, object]:
        """All of it, JSON-able."""
        return {
            "path": str(self.path),
            "format": self.format,
            "quantize": self.quantize,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "operators": dict(self.operators),
            "transposes": [
                {"name": t.name, "shape": list(t.shape), "place": t.place} for t in self.transposes
            ],
            "verification": {
                "numerics": self.numerics,
                "max_abs_error": self.max_abs_error,
                "max_rel_error": self.max_rel_error,
                "tolerance": self.tolerance,
            },
            "seconds": dict(self.seconds),
            "notes": list(self.notes),
        }


def from_reply(reply: Mapping[str, object], path: Path) -> Conversion:
    """The child's reply, for the file at its destination."""
    verification = cast("dict[str, object]", reply["verification"])
    transposes = cast("list[dict[str, object]]", reply["transposes"])
    return Conversion(
        path=path,
        format=cast("Format", reply["format"]),
        quantize=cast("Quantize", reply["quantize"]),
        inputs=tuple(cast("list[str]", reply["inputs"])),
        outputs=tuple(cast("list[str]", reply["outputs"])),
        operators=cast("dict[str, int]", reply["operators"]),
        transposes=tuple(
            Remaining(
                str(t["name"]),
                tuple(cast("list[int | None]", t["shape"])),
                cast("Place", t["place"]),
            )
            for t in transposes
        ),
        numerics=cast("Literal['close', 'skipped']", verification["numerics"]),
        max_abs_error=cast("float", verification["max_abs_error"]),
        max_rel_error=cast("float", verification["max_rel_error"]),
        tolerance=cast("float", verification["tolerance"]),
        seconds=cast("dict[str, float]", reply["seconds"]),
        notes=tuple(cast("list[str]", reply["notes"])),
    )
