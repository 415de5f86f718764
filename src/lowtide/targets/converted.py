"""ONNX models for the targets `tflite` and `c`: converted, then planned as any .tflite.

model.onnx ─▶ from_onnx: TensorFlow, its converter ─▶ .tflite ─▶ target `tflite` ─▶ result
    └────────────────────── the same outputs in ONNX Runtime and LiteRT ──────────────┘
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from lowtide import child
from lowtide.backends.tensorflow import convert
from lowtide.backends.tensorflow.from_onnx.convert import save_source
from lowtide.backends.tensorflow.package import tensorflow_packages
from lowtide.child import ChildError
from lowtide.errors import InputError, VerificationError
from lowtide.frontends.onnx import read
from lowtide.frontends.onnx.dimensions import require_bound
from lowtide.frontends.tflite import read as read_tflite
from lowtide.sources import Origin
from lowtide.targets.tensorflow_job import CHILD_BYTES, TIMEOUT_S
from lowtide.targets.tflite import PreparedTflite, prepare_source
from lowtide.targets.tflite_staged import StagedTflite

if TYPE_CHECKING:
    import onnx
    import onnx_ir

    from lowtide.backends.tensorflow import Conversion
    from lowtide.backends.tensorflow.from_onnx import Quantize
    from lowtide.emission import Outcome
    from lowtide.planning import Planned, Progress
    from lowtide.settings import Settings

__all__ = ["PreparedConverted", "prepare"]


@dataclass(frozen=True, kw_only=True)
class PreparedConverted(PreparedTflite):
    """An ONNX model as a .tflite.

    Attributes:
        model: the ONNX model, with its dimensions bound.
        conversion: what the conversion reported.
    """

    pinned_versions: ClassVar[tuple[str, ...]] = ("tflite-micro", *tensorflow_packages())

    same_kernels: ClassVar[bool] = False  # but with ONNX Runtime's

    model: onnx_ir.Model
    conversion: Conversion

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that the result depends on."""
        return (*super().packages, "onnx", "onnx-ir", "onnxruntime", *tensorflow_packages())

    def stage(self, planned: Planned, destination: Path, folder: Path) -> StagedConverted:
        """The model in the planned order, with its offline plan."""
        return StagedConverted(self, planned, destination, folder)


class StagedConverted(StagedTflite):
    """A converted and planned model; its outputs are compared with ONNX Runtime's, too."""

    def __init__(
        self, prepared: PreparedConverted, planned: Planned, destination: Path, folder: Path
    ) -> None:
        super().__init__(prepared, planned, destination)
        self._converted, self._folder = prepared, folder

    def verify(self) -> Outcome:
        """As of a .tflite, and beside ONNX Runtime on the original model."""
        started = time.perf_counter()
        outcome = super().verify()
        found, notes = self._against_ort()
        return replace(
            outcome,
            verification={**outcome.verification, **found},
            notes=(*outcome.notes, *notes),
            seconds=time.perf_counter() - started,
        )

    def _against_ort(self) -> tuple[dict[str, object], list[str]]:
        settings = self._converted.settings
        staged = self._folder / "planned.tflite"
        staged.write_bytes(self.data)
        try:
            reply = child.run(
                "lowtide.backends.tensorflow.from_onnx.job:compare",
                {
                    "model": str(save_source(self._converted.model, self._folder)),
                    "staged": str(staged),
                    "format": "tflite",
                    "quantize": self._converted.conversion.quantize,
                    "representative": _text(settings.representative),
                    "seed": settings.seed,
                },
                timeout_s=TIMEOUT_S,
                memory_limit_bytes=CHILD_BYTES,
            )
        except ChildError as error:
            raise VerificationError(f"the result cannot be compared: {error}") from None
        finally:
            staged.unlink()
        found = cast("dict[str, object]", reply["verification"])
        return found, cast("list[str]", reply["notes"])


def prepare(
    model: str | Path | onnx.ModelProto | onnx_ir.Model,
    settings: Settings,
    progress: Progress | None = None,
) -> PreparedConverted:
    """Read an ONNX model, convert it, and ask TFLM what the result needs.

    Raises:
        InputError: the model or the representative dataset cannot be read.
        ModelError: the model has what is not emitted, or what TFLite does not have.
        MissingExtraError: TensorFlow or the extra `edge` is not installed.
    """
    started = time.perf_counter()
    source = read(model, dims=settings.dims)
    require_bound(source.open_dims)
    if progress is not None:
        progress.stage("convert with TensorFlow")
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        conversion = convert(
            source.model,
            Path(folder, "model.tflite"),
            quantize=_quantize(source.model, settings),
            representative=settings.representative,
            verify=False,
            seed=settings.seed,
            timeout_s=TIMEOUT_S,
            memory_limit_bytes=CHILD_BYTES,
        )
        file = read_tflite(conversion.path.read_bytes())
    origin = Origin(source.path, source.sha256, "onnx", source.model)
    base = prepare_source(file, origin, settings, progress)
    known = {field.name: getattr(base, field.name) for field in fields(base)}
    notes = (*source.notes, *conversion.notes, *base.notes)
    known |= {"notes": notes, "seconds": time.perf_counter() - started}
    return PreparedConverted(**known, model=source.model, conversion=conversion)


def _quantize(model: onnx_ir.Model, settings: Settings) -> Quantize:
    """`qdq` for int8 without data: the model's own scales.

    Raises:
        InputError: it has none.
    """
    if settings.quantize != "int8" or settings.representative is not None:
        return cast("Quantize", settings.quantize)
    if any(node.op_type == "DequantizeLinear" for node in model.graph):
        return "qdq"
    raise InputError(
        "--quantize int8 needs --representative DATA.npz, an array [samples, ...] for each input: "
        "the model has no QuantizeLinear or DequantizeLinear of its own"
    )


def _text(path: Path | None) -> str:
    return "" if path is None else str(path.absolute())
