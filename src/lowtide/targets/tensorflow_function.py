"""What the targets of TensorFlow share: a traced function as a graph, planned and written back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from lowtide import child
from lowtide.backends.tensorflow.package import tensorflow_packages
from lowtide.child import ChildError
from lowtide.errors import ModelError
from lowtide.ir import parse, verify
from lowtide.planning import Prepared
from lowtide.targets.tensorflow_job import CHILD_BYTES, TIMEOUT_S
from lowtide.targets.workspace import unknown_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir import Graph
    from lowtide.planning import Planned

__all__ = ["PreparedFunction", "traced"]


@dataclass(frozen=True, kw_only=True)
class PreparedFunction(Prepared):
    """A function of TensorFlow as a graph; subclasses say where it comes from."""

    runtime: ClassVar[str] = "TensorFlow"
    own_order: ClassVar[str] = "tensorflow"
    pinned_versions: ClassVar[tuple[str, ...]] = tensorflow_packages()

    @property
    def breakdown(self) -> dict[str, int]:
        """Bytes apart from the peak; a SavedModel's variables are its weights."""
        found = super().breakdown
        return {**found, "weights": found["weights"] + found["persistent"], "persistent": 0}

    def emitted_order(self, planned: Planned) -> list[str] | None:
        """The ops in the planned order; None to leave TensorFlow its own."""
        certificate = planned.plan.certificate
        if certificate is None or certificate.method == self.own_order:
            return None
        return [op.name for op in planned.order]


def traced(job: str, request: Mapping[str, object], what: str) -> tuple[Graph, tuple[str, ...]]:
    """The graph that a job finds in a child process, and its notes.

    Args:
        job: `module:function`, which replies with the graph's text and notes.
        request: its argument.
        what: for the error where there is nothing to plan.

    Raises:
        ModelError: TensorFlow died on it, or it computes nothing.
    """
    try:
        reply = child.run(job, request, timeout_s=TIMEOUT_S, memory_limit_bytes=CHILD_BYTES)
    except ChildError as error:
        raise ModelError(
            f"TensorFlow does not survive the model ({error}): it is damaged, or asks for more "
            f"memory than there is"
        ) from None
    graph = parse(str(reply["graph"]))
    verify(graph)
    if not graph.ops:
        raise ModelError(f"the {what} computes nothing: there is nothing to plan")
    return graph, (*cast("list[str]", reply["notes"]), *unknown_workspace(graph))
