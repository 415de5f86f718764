"""The graph IR: ops, tensors, aliases, liveness. It knows no file format and no solver."""

from lowtide.ir.accounting import Accounting
from lowtide.ir.graph import Graph
from lowtide.ir.liveness import Buffer, Step, Timeline, simulate
from lowtide.ir.op import InPlace, Op, Traits
from lowtide.ir.recipe import Cast, Folded, Joined, Part, Recipe, Values
from lowtide.ir.tensor import Alias, Role, Tensor, Use
from lowtide.ir.text import parse, print_graph
from lowtide.ir.unroll import refresh_views, unroll
from lowtide.ir.verify import verify

__all__ = [
    "Accounting",
    "Alias",
    "Buffer",
    "Cast",
    "Folded",
    "Graph",
    "InPlace",
    "Joined",
    "Op",
    "Part",
    "Recipe",
    "Role",
    "Step",
    "Tensor",
    "Timeline",
    "Traits",
    "Use",
    "Values",
    "parse",
    "print_graph",
    "refresh_views",
    "simulate",
    "unroll",
    "verify",
]
