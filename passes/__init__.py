"""Passes: lower the graph, solve, check, apply to the plan."""

from lowtide.passes.allocate import Allocate
from lowtide.passes.inplace import Inplace
from lowtide.passes.lower import Lowered, lower
from lowtide.passes.pipeline import available, parse, print_pipeline, run
from lowtide.passes.plan import Certificate, InPlacePair, Plan
from lowtide.passes.rematerialize import Rematerialize
from lowtide.passes.schedule import Schedule
from lowtide.passes.state import Pass, State

__all__ = [
    "Allocate",
    "Certificate",
    "InPlacePair",
    "Inplace",
    "Lowered",
    "Pass",
    "Plan",
    "Rematerialize",
    "Schedule",
    "State",
    "available",
    "lower",
    "parse",
    "print_pipeline",
    "run",
]
