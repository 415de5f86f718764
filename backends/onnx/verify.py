"""Verification: the result computes what the original computes, in the order that was planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from lowtide import child
from lowtide.child import ChildError
from lowtide.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.backends.onnx.case import Case

__all__ = ["Verification", "ask", "interpret", "verify"]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found when the result was run beside the original.

    Attributes:
        numerics: `identical` (bit for bit the outputs of the original at the same optimisation
            level and of its graph in ONNX Runtime's default order), `close` (within the tolerance
            of the type) or `skipped` (the original cannot be run on random inputs).
        max_abs_error: the largest absolute difference, 0 where identical.
        order: `executed` (every planned node ran, in the planned order) or `not_checked`.
        notes: why something was skipped, not checked or only close.
    """

    numerics: Literal["identical", "close", "skipped"]
    max_abs_error: float
    order: Literal["executed", "not_checked"]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The `verification` of `lowtide.report/1`."""
        return {
            "numerics": self.numerics,
            "max_abs_error": self.max_abs_error,
            "order": self.order,
            "notes": list(self.notes),
        }


def verify(
    case: Case, *, timeout_s: float = 300.0, memory_limit_bytes: int | None = None
) -> Verification:
    """Run original, graph and result in a child process and compare outputs and order.

    Raises:
        VerificationError: the result fails, computes something else, or ran in another order.
    """
    request = {**case.request(), "latency_s": 0.0}
    return interpret(case, ask(request, timeout_s, memory_limit_bytes))


def ask(
    request: Mapping[str, object], timeout_s: float, memory_limit_bytes: int | None
) -> dict[str, object]:
    """The child's reply; when the child dies, whether the original alone kills it too."""
    target = "lowtide.backends.onnx.trial:numerics"
    try:
        return child.run(
            target, request, timeout_s=timeout_s, memory_limit_bytes=memory_limit_bytes
        )
    except ChildError as error:
        death = str(error)
    sessions = cast("Mapping[str, object]", request["sessions"])
    alone = {**request, "sessions": dict.fromkeys(sessions, sessions["original"])}
    try:
        child.run(target, alone, timeout_s=timeout_s, memory_limit_bytes=memory_limit_bytes)
    except ChildError as error:
        return {"skipped": f"the original cannot be run: {error}"}
    return {"failure": f"the result cannot be run: {death}"}


def interpret(case: Case, reply: Mapping[str, object]) -> Verification:
    """What the child's reply means.

    Raises:
        VerificationError: as `verify`.
    """
    if "failure" in reply:
        raise VerificationError(f"{case.result}: {reply['failure']}")
    skipped = [str(reply["skipped"])] if "skipped" in reply else []
    if "executed" not in reply:
        return Verification("skipped", 0.0, "not_checked", tuple(skipped))
    if not reply["within"] and not skipped:
        raise VerificationError(
            f"{case.result} does not compute what {case.original} computes: {reply['where']}"
        )
    reason = _order(case, cast("list[str]", reply["executed"]), cast("int", reply["added"]))
    order: Literal["executed", "not_checked"] = "not_checked" if reason else "executed"
    why_order = [reason] if reason else []
    if skipped:
        return Verification("skipped", 0.0, order, (*skipped, *why_order))
    if reply["identical"]:
        return Verification("identical", 0.0, order, tuple(why_order))
    error = cast("float", reply["max_abs_error"])
    return Verification("close", error, order, (str(reply["where"]), *why_order))


def _order(case: Case, executed: Sequence[str], added: int) -> str:
    """Why the order could not be checked; empty if it was, and is as planned.

    Raises:
        VerificationError: the planned nodes that ran did so in another order.
    """
    if not case.planned:
        return "the planned order was not given"
    known = set(case.planned)
    ran = [key for key in executed if key in known]
    present = set(ran)
    planned = [key for key in case.planned if key in present]
    for place, (want, have) in enumerate(zip(planned, ran, strict=False)):
        if want != have:
            raise VerificationError(
                f"{case.result}: node {place} of {len(planned)} to run gave {have!r}, planned was"
                f" {want!r}: ONNX Runtime did not follow the plan"
            )
    if len(ran) != len(planned):
        raise VerificationError(f"{case.result}: a planned node ran more than once")
    if added:
        return f"ONNX Runtime ran {added} nodes of its own making, which the plan does not know"
    if case.route == "exact" and len(planned) < len(case.planned):
        return f"{len(case.planned) - len(planned)} planned nodes did not run"
    return ""
