"""Which ONNX operators are random, stateful or commutative."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.ir import Traits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir.op import Attribute

__all__ = ["node_traits"]

_RANDOM = frozenset(
    {
        "Bernoulli",
        "BiasDropout",
        "BitmaskDropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Sampling",
    }
)
_PINNED = frozenset({"PythonOp", "PythonOpGrad", "Print", "RecordEvent", "WaitEvent", "YieldOp"})
_COMMUTES = frozenset(
    {"Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Max", "Mean", "Min", "Mul"}
    | {"Or", "Sum", "Xor"}
)


def node_traits(
    domain: str,
    kind: str,
    attributes: Mapping[str, Attribute],
    *,
    inputs: int,
    standard: bool,
    nested: frozenset[tuple[str, str]] = frozenset(),
) -> Traits:
    """The traits of a node, `view` left out.

    Args:
        domain: of the operator.
        kind: the operator.
        attributes: plain attributes.
        inputs: operands given; Dropout trains only when its third one is.
        standard: the operator is a registered one, and not a function of the model or a custom one.
        nested: domain and kind of the nodes inside its subgraphs or its function's body.
    """
    random = kind in _RANDOM and standard
    if kind == "Dropout" and domain == "":
        random = inputs > 2
    inner_random = any(k in _RANDOM or k == "Dropout" for _, k in nested)
    inner_pinned = any(k in _PINNED for _, k in nested)
    return Traits(
        pinned=kind in _PINNED or inner_pinned,
        random=random or inner_random,
        commutes=domain == "" and kind in _COMMUTES,
    )
