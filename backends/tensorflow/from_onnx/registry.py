"""Which operators are emitted, by which function, since which opset."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from lowtide.backends.tensorflow.from_onnx.call import Call
    from lowtide.backends.tensorflow.from_onnx.value import Value

__all__ = ["FAMILIES", "Entry", "Handler", "emitted", "find", "nearest", "operator", "register"]

FAMILIES = (
    "constants",
    "control",
    "convolution",
    "elementwise",
    "indexing",
    "logic",
    "matrix",
    "normalization",
    "pooling",
    "quantize",
    "random",
    "recurrent",
    "reductions",
    "resize",
    "shapes",
    "signal",
    "vision",
)

Handler: TypeAlias = "Callable[[Call], Value | Sequence[Value | None]]"

# What a model that needs one of these can do instead.
_ALTERNATIVES = {
    "Optional": "export the model without optional values",
    "OptionalGetElement": "export the model without optional values",
    "OptionalHasElement": "export the model without optional values",
    "StringNormalizer": "keep the preparation of text outside of the model",
    "TfIdfVectorizer": "keep the preparation of text outside of the model",
    "ImageDecoder": "decode images outside of the model",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One way to emit an operator.

    Attributes:
        since: the first opset that it is right for; another entry may take over later.
        attributes: the names of the attributes that it obeys; others are refused.
        folds: whether constant inputs give a constant (not so for random numbers and control flow).
    """

    kind: str
    since: int
    handler: Handler
    attributes: frozenset[str]
    folds: bool = True
    domain: str = ""


_ENTRIES: dict[tuple[str, str], list[Entry]] = {}


def register(entry: Entry) -> None:
    """Add an entry; later opsets last."""
    entries = _ENTRIES.setdefault((entry.domain, entry.kind), [])
    entries.append(entry)
    entries.sort(key=lambda entry: entry.since)


def operator(
    *kinds: str,
    since: int = 1,
    attributes: Sequence[str] = (),
    folds: bool = True,
    domain: str = "",
) -> Callable[[Handler], Handler]:
    """Register the decorated function for these operators."""

    def decorate(handler: Handler) -> Handler:
        for kind in kinds:
            register(Entry(kind, since, handler, frozenset(attributes), folds, domain))
        return handler

    return decorate


def _load() -> None:
    for family in FAMILIES:
        importlib.import_module(f"lowtide.backends.tensorflow.from_onnx.{family}")


def find(domain: str, kind: str, version: int) -> Entry | None:
    """The entry for an operator at an opset version; None where there is none."""
    _load()
    domain = "" if domain == "ai.onnx" else domain
    entries = [e for e in _ENTRIES.get((domain, kind), ()) if e.since <= version]
    return entries[-1] if entries else None


def emitted(domain: str = "") -> list[str]:
    """The names of all operators with an entry."""
    _load()
    return sorted(kind for at, kind in _ENTRIES if at == domain)


def nearest(domain: str, kind: str) -> str:
    """What to do instead of an operator that is not emitted."""
    if kind in _ALTERNATIVES:
        return _ALTERNATIVES[kind]
    if "Sequence" in kind:
        return "export the model with the sequence unrolled into tensors"
    if domain in ("", "ai.onnx"):
        close = difflib.get_close_matches(kind, emitted(), 1, 0.7)
        if close:
            return f"the nearest operator that is emitted is `{close[0]}`"
    return "express it with operators that are emitted (docs/onnx-conformance.md lists them)"
