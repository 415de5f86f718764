"""Which pictures were asked for, and where they go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.outputs import SOURCE, refuse, write_bytes
from lowtide.pictures.build import build_scene
from lowtide.pictures.page import render_page
from lowtide.pictures.png import require_png, to_png
from lowtide.pictures.snapshot import memory_snapshot
from lowtide.pictures.svg import draw
from lowtide.pictures.trace import chrome_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.pictures.record import Record
    from lowtide.pictures.scene import Scene
    from lowtide.planning import Planned
    from lowtide.report import Report

__all__ = ["FORMATS", "Exports", "export", "format_of", "write_picture"]

FORMATS = ("html", "svg", "png", "trace", "snapshot")
_ENDINGS = {
    ".html": "html",
    ".htm": "html",
    ".svg": "svg",
    ".png": "png",
    ".json": "trace",
    ".pickle": "snapshot",
    ".pkl": "snapshot",
}


@dataclass(frozen=True, slots=True)
class Exports:
    """The files to write: a page, a picture as SVG and PNG, a Chrome trace, a memory snapshot."""

    html: Path | None = None
    svg: Path | None = None
    png: Path | None = None
    trace: Path | None = None
    snapshot: Path | None = None

    @classmethod
    def of(
        cls,
        html: str | Path | None,
        svg: str | Path | None,
        png: str | Path | None,
        trace: str | Path | None,
        snapshot: str | Path | None,
    ) -> Exports:
        """From what was asked for."""
        asked = html, svg, png, trace, snapshot
        return cls(*(None if path is None else Path(path) for path in asked))

    @property
    def paths(self) -> dict[str, Path]:
        """The files by format."""
        found = self.html, self.svg, self.png, self.trace, self.snapshot
        return {name: path for name, path in zip(FORMATS, found, strict=True) if path is not None}

    @property
    def options(self) -> dict[str, Path | None]:
        """The files by the options that ask for them."""
        return {f"--{name}": path for name, path in self.paths.items()}

    def require(self) -> None:
        """Raise where a picture needs what is not installed.

        Raises:
            MissingExtraError: a PNG was asked for without the extra.
        """
        if self.png is not None:
            require_png()

    def render(self, planned: Planned, report: Report, record: Record | None) -> dict[Path, bytes]:
        """What to write where."""
        if not self.paths:
            return {}
        scene = build_scene(planned, report, record)
        return {path: export(scene, name) for name, path in self.paths.items()}


def export(scene: Scene, name: str) -> bytes:
    """The scene in one of `FORMATS`."""
    if name == "html":
        return render_page(scene).encode()
    if name == "trace":
        return chrome_trace(scene).encode()
    if name == "snapshot":
        return memory_snapshot(scene)
    picture = draw(scene)
    return to_png(picture) if name == "png" else picture.encode()


def write_picture(path: str | Path, scene: Callable[[], Scene], source: object = None) -> Path:
    """Write one picture; the ending of its name says which. The scene is made if that is possible.

    Raises:
        InputError: another ending, `path` is the source, or it cannot be written.
        MissingExtraError: a PNG without the extra.
    """
    destination = Path(path)
    wanted = format_of(destination)
    refuse({SOURCE: source}, {"the picture": destination})
    Exports(**{wanted: destination}).require()
    write_bytes(destination, export(scene(), wanted))
    return destination


def format_of(path: Path) -> str:
    """The format by a file's name.

    Raises:
        InputError: another ending.
    """
    found = _ENDINGS.get(path.suffix.lower())
    if found is None:
        raise InputError(
            f"{path}: a picture's name ends in .html, .svg, .png, .json for a Chrome trace, or "
            f".pickle for a memory snapshot"
        )
    return found
