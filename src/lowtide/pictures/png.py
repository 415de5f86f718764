"""The picture for papers as pixels, through CairoSVG, which is an extra."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lowtide.errors import MissingExtraError

if TYPE_CHECKING:
    from typing import Protocol

    class _Converter(Protocol):
        def __call__(self, *, bytestring: bytes, scale: float) -> bytes: ...


__all__ = ["SCALE", "require_png", "to_png"]

SCALE = 2.0  # pixels for each unit of the SVG: 1640 across
_MISSING = 'a PNG needs CairoSVG: pip install "lowtide[png]", or take --svg'


def require_png() -> None:
    """Refuse before any work.

    Raises:
        MissingExtraError: CairoSVG is not installed.
    """
    if find_spec("cairosvg") is None:
        raise MissingExtraError(_MISSING)


def to_png(svg: str) -> bytes:
    """The picture in pixels.

    Raises:
        MissingExtraError: CairoSVG, or the Cairo library that it loads, is not installed.
    """
    try:
        convert: _Converter = import_module("cairosvg").svg2png
    except ImportError:
        raise MissingExtraError(_MISSING) from None
    except OSError as error:  # the package is there, the library is not
        raise MissingExtraError(
            f"CairoSVG cannot load Cairo ({str(error).splitlines()[0]}): install it with the "
            f"system's package manager (libcairo2), or take --svg"
        ) from None
    return convert(bytestring=svg.encode(), scale=SCALE)
