"""Which pictures were asked for, and where they go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.emission import refuse_source, write_bytes
from lowtide.errors import InputError
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

    def refuse(self, source: object, *others: object) -> None:
        """Refuse, before any work, what cannot be written, or would be written over.

        `others` are the paths of what is read and written besides the source; what is no path does
        not count.

        Raises:
            InputError: a file would replace one of `others` or another picture, or has no folder.
            MissingExtraError: a PNG was asked for without the extra.
        """
        known = {Path(each).resolve() for each in others if isinstance(each, str | Path)}
        for name, path in self.paths.items():
            refuse_source(source, path)
            place = path.resolve()
            if place in known:
                raise InputError(f"--{name} {path} is read or written already: choose another file")
            known.add(place)
        if self.png is not None:
            require_png()

    def write(self, planned: Planned, report: Report, record: Record | None) -> None:
        """Write the files; each appears whole or not at all.

        Raises:
            InputError: one cannot be written.
        """
        if not self.paths:
            return
        scene = build_scene(planned, report, record)
        for name, path in self.paths.items():
            write_bytes(path, export(scene, name))


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
    Exports(**{wanted: destination}).refuse(source)
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
