"""Float16 weights as float32: TensorFlow Lite Micro has no operator that converts them.

Converters store weights as float16 with a DEQUANTIZE behind each, which LiteRT runs as it loads the
model. Widened in the file they are the same numbers, and the model runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.backends.tflite import rebuild
from lowtide.errors import ModelError
from lowtide.frontends.tflite import TfliteDialect, import_graph, read
from lowtide.ir.semantics import Conversion
from lowtide.passes.rewrite.constants import Constants
from lowtide.passes.rewrite.rule import Rewrite

if TYPE_CHECKING:
    from lowtide.frontends.tflite import TfliteSource

__all__ = ["widened"]


def widened(source: TfliteSource) -> TfliteSource | None:
    """The model with its float16 constants as float32; None where there are none to widen."""
    imported = import_graph(source)
    edited = import_graph(source).graph
    dialect = TfliteDialect(source, imported)
    rule = Constants()
    found = [
        site
        for site in rule.sites(edited, dialect)
        if isinstance(site, Rewrite) and isinstance(dialect.meaning(edited.op(site.op)), Conversion)
    ]
    for site in found:
        rule.apply(edited, dialect, site)
    if not found:
        return None
    try:
        return read(rebuild(source, imported, edited))
    except ModelError:
        return None  # its data is outside the flatbuffer, or there is too much of it
