"""What an emitted file says about itself in its metadata, and whether this machine may run it."""

from __future__ import annotations

import platform
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, cast, get_args

from lowtide.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Level", "Route", "Stamp", "cpu_features", "read_metadata", "read_stamp"]

Level = Literal["none", "basic", "extended", "all"]
Route = Literal["exact", "portable"]

_PREFIX = "lowtide."
_SESSION: dict[Route, str] = {
    "exact": (
        "lowtide.onnxruntime.create_session(path), or session_options(path): ORT_DISABLE_ALL,"
        " ExecutionOrder.PRIORITY_BASED,"
        " enable_cpu_mem_arena=False, enable_mem_pattern=False, enable_mem_reuse=False"
    ),
    "portable": (
        "any session at ORT_ENABLE_BASIC or less in the default execution order,"
        " enable_cpu_mem_arena=False, enable_mem_pattern=False"
    ),
}
# fmt: off
# What ONNX Runtime's CPU kernels choose their memory layouts by.
_FEATURES = frozenset(
    [
        "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl",
        "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_int8",
        "amx_bf16", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sme", "lasx",
        "vsx",
    ]
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Stamp:
    """Provenance of an emitted model.

    Attributes:
        version: Lowtide's version.
        target: `onnxruntime` or `onnx`.
        route: how the order is obeyed: session options (`exact`) or control edges (`portable`).
        level: the optimisation level at which ONNX Runtime wrote the graph, `none` for the file's.
        onnxruntime: the version of ONNX Runtime that wrote the graph or predicted its order.
        cpu: architecture and features of the CPU it was written for.
        plan: a hash of the plan.
    """

    version: str
    target: str
    route: Route
    level: Level
    onnxruntime: str
    cpu: str
    plan: str = ""

    @staticmethod
    def here(target: str, route: Route, level: Level, plan: str = "") -> Stamp:
        """The stamp of a model that is emitted on this machine now."""
        return Stamp(
            version=_version("lowtide"),
            target=target,
            route=route,
            level=level,
            onnxruntime=_version("onnxruntime"),
            cpu=cpu_features(),
            plan=plan,
        )

    def metadata(self) -> dict[str, str]:
        """The stamp as metadata properties, with the session it needs in words."""
        entries = {_PREFIX + f.name: str(getattr(self, f.name)) for f in fields(self)}
        entries[_PREFIX + "session"] = _SESSION[self.route]
        return entries

    @staticmethod
    def parse(metadata: Mapping[str, str], where: str) -> Stamp:
        """The stamp in a model's metadata.

        Raises:
            ModelError: there is none, or it is not one of ours.
        """
        if _PREFIX + "route" not in metadata:
            raise ModelError(
                f"{where} carries no Lowtide stamp: session options are for models written by"
                " `optimize --peak-mem` (did another tool rewrite the file afterwards?)"
            )
        found = {f.name: metadata.get(_PREFIX + f.name, "") for f in fields(Stamp)}
        for name, known in (("route", get_args(Route)), ("level", get_args(Level))):
            if found[name] not in known:
                raise ModelError(
                    f"{where}: metadata {_PREFIX}{name} is {found[name]!r}, this Lowtide knows"
                    f" {', '.join(known)}: update lowtide, or run `optimize` again"
                )
        return Stamp(**found)  # type: ignore[arg-type]  # route and level were just checked

    def check(self, where: str) -> None:
        """Whether ONNX Runtime may run the model on this machine.

        A graph of level `all` is in the layout of one CPU and one build of ONNX Runtime, and its
        fused operators are known to that build only.

        Raises:
            ModelError: it was written for another version or CPU.
        """
        again = "run `optimize` again on this machine, or use --portable for a file that moves"
        if self.level in {"extended", "all"}:
            here = _version("onnxruntime")
            if here != self.onnxruntime:
                raise ModelError(
                    f"{where} was written for ONNX Runtime {self.onnxruntime},"
                    f" this is {here}: {again}"
                )
        if self.level == "all" and self.cpu != cpu_features():
            raise ModelError(
                f"{where} was written for the CPU [{self.cpu}], this is [{cpu_features()}]: {again}"
            )


def cpu_features() -> str:
    """The machine's architecture and the vector extensions that decide kernels' layouts, sorted."""
    found: frozenset[str] = frozenset()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                found = _FEATURES & set(line.partition(":")[2].split())
                break
    except OSError:
        found = frozenset([platform.processor()]) - {""}
    return " ".join([platform.machine(), *sorted(found)])


def read_stamp(path: Path) -> Stamp:
    """The stamp of a model file, read without its weights."""
    return Stamp.parse(read_metadata(path), str(path))


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata properties of a model file; the graph is skipped, not read.

    Raises:
        ModelError: the file cannot be read or is no protobuf.
    """
    found: dict[str, str] = {}
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            while stream.tell() < size:
                number, length = _field(stream)
                end = stream.tell() + length
                if end > size:
                    raise ValueError("truncated")
                if number == 14:  # ModelProto.metadata_props
                    entry = {}
                    while stream.tell() < end:
                        inner, inner_length = _field(stream)
                        entry[inner] = stream.read(inner_length)
                    found[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
                stream.seek(end)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path} as an ONNX model: {error}") from None
    return found


def _field(stream: BinaryIO) -> tuple[int, int]:
    """The number of the next protobuf field and the bytes its payload takes from here on."""
    tag = _varint(stream)
    match tag & 7:
        case 0:
            start = stream.tell()
            _varint(stream)
            length = stream.tell() - start
            stream.seek(start)
            return tag >> 3, length
        case 1:
            return tag >> 3, 8
        case 2:
            return tag >> 3, _varint(stream)
        case 5:
            return tag >> 3, 4
        case kind:
            raise ValueError(f"protobuf wire type {kind}")


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("truncated")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("varint of more than ten bytes")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return cast("str", getattr(__import__(package), "__version__", "unknown"))
