"""Whether the operators of a subgraph can run in the file's order, and its subgraphs at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.frontends.tflite.model import TfliteOperator, TfliteTensor

__all__ = ["callees_first", "check_control", "check_order", "check_sources"]


def check_sources(
    where: str,
    tensors: Sequence[TfliteTensor],
    producer: Mapping[int, TfliteOperator],
    inputs: Sequence[int],
) -> None:
    """No operator makes an input, a constant or a variable.

    Raises:
        ModelError: one does.
    """
    given = set(inputs)
    for tensor, op in producer.items():
        if tensor < 0:
            continue
        role = (
            "an input of the subgraph"
            if tensor in given
            else "a constant"
            if tensors[tensor].constant
            else "a variable"
            if tensors[tensor].variable
            else ""
        )
        if role:
            raise ModelError(
                f"{where}: operator {op.index} ({op.kind}) makes tensor {tensor}, which is {role}"
            )


def check_order(
    where: str,
    tensors: Sequence[TfliteTensor],
    operators: Sequence[TfliteOperator],
    producer: Mapping[int, TfliteOperator],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> None:
    """Every tensor exists before it is read, which excludes cycles.

    Raises:
        ModelError: one is read before it is made, or never made.
    """
    given = set(inputs)

    def sourced(tensor: int) -> bool:
        return tensor in given or tensors[tensor].constant or tensors[tensor].variable

    for op in operators:
        for tensor in op.inputs:
            if tensor < 0 or sourced(tensor):
                continue
            maker = producer.get(tensor)
            if maker is None:
                raise ModelError(
                    f"{where}: operator {op.index} ({op.kind}) reads tensor {tensor}, which is no "
                    f"input, has no data, and is never made"
                )
            if maker.index >= op.index:
                raise ModelError(
                    f"{where}: operator {op.index} ({op.kind}) reads tensor {tensor}, which "
                    f"operator {maker.index} makes: the operators form a cycle, or are not in an "
                    f"execution order"
                )
    for tensor in outputs:
        if tensor not in producer and not sourced(tensor):
            raise ModelError(f"{where}: the output, tensor {tensor}, is never made")


def check_control(where: str, control: Sequence[tuple[int, int]], operators: int) -> None:
    """Control edges go forward between existing operators.

    Raises:
        ModelError: one does not.
    """
    for before, after in control:
        if not 0 <= before < after < operators:
            raise ModelError(
                f"{where}: the control dependency of operator {after} on {before} is none between "
                f"{operators} operators in execution order"
            )


def callees_first(calls: Sequence[set[int]]) -> list[int]:
    """The subgraphs in an order in which each comes after those that it calls.

    Raises:
        ModelError: there is none: a subgraph calls itself.
    """
    order: list[int] = []
    state = [0] * len(calls)  # 1: on the path, 2: done
    for start in range(len(calls)):
        stack = [(start, iter(sorted(calls[start])))] if not state[start] else []
        state[start] = state[start] or 1
        while stack:
            subgraph, rest = stack[-1]
            callee = next(rest, None)
            if callee is None:
                state[subgraph] = 2
                order.append(subgraph)
                stack.pop()
            elif state[callee] == 1:
                raise ModelError(f"subgraph {callee} calls itself, directly or through others")
            elif state[callee] == 0:
                state[callee] = 1
                stack.append((callee, iter(sorted(calls[callee]))))
    return order
