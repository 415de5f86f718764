"""Commands that tell about Lowtide itself: passes, doctor, cite."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, entry_points, version

import typer

from lowtide import __version__

__all__ = ["cite", "doctor", "passes"]

_CORE = ("numpy", "networkx", "onnx", "onnx-ir", "onnxruntime", "ortools", "rich", "typer")
_EXTRAS = {
    "tensorflow": ("tensorflow-cpu", "tensorflow"),
    "tvm": ("apache-tvm",),
    "edge": ("ai-edge-litert", "tflite-micro"),
}


def passes() -> None:
    """List the passes, schedulers and allocators, third parties' among them."""
    from lowtide.passes.pipeline import DEFAULT, available
    from lowtide.solvers.allocation.registry import available as allocators
    from lowtide.solvers.schedule.registry import available as schedulers

    print(f"default pipeline: {DEFAULT}\n\npasses")
    for name, signature in available().items():
        print(f"  {name:<12} {signature}")
    print("\nschedulers (schedule{solver=NAME})")
    for name in schedulers():
        print(f"  {name}")
    print("\nallocators (solve allocate --solver NAME)")
    for name in allocators():
        print(f"  {name}")
    others = sorted(entry_points(group="lowtide.frontends"), key=lambda point: point.name)
    if others:
        print("\nfrontends of third parties")
        for point in others:
            print(f"  {point.name:<12} from {point.value}")


def doctor() -> None:
    """Check the installation; exit code 1 if something that is needed does not work."""
    broken = False

    def line(name: str, state: str, ok: bool = True) -> None:
        nonlocal broken
        broken = broken or not ok
        print(f"{'ok ' if ok else 'BAD'}  {name:<14} {state}")

    line("lowtide", __version__)
    line(
        "python",
        f"{platform.python_version()} on {platform.platform()}",
        sys.version_info >= (3, 11),
    )
    for package in _CORE:
        found = _version(package)
        line(package, found or "missing: pip install lowtide", found is not None)
    try:
        from lowtide.solvers import _native

        line("native core", str(_native.__doc__).strip().splitlines()[0])
    except ImportError as error:
        line("native core", f"cannot be loaded: {error}", ok=False)
    from lowtide.backends.meter import library

    meter = library()
    line("meter", "built" if meter else "not on this system: peaks are predicted, not measured")
    for extra, packages in _EXTRAS.items():
        found_any = [f"{p} {_version(p)}" for p in packages if _version(p)]
        print(f"     extra {extra:<8} {', '.join(found_any) or 'not installed'}")
    if broken:
        raise typer.Exit(1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cite() -> None:
    """Print BibTeX for the methods used."""
    from lowtide.cite import BIBTEX

    print(BIBTEX, end="")
