"""TensorFlow Lite Micro: its memory model, offline plans for it, and execution in it.

The way through: measure what the kernels ask for; annotate the graph and schedule it under
`ACCOUNTING`; plan the offsets of that order; emit; verify.

    scratch = measure_scratch(source)
    annotate(graph, source.model, scratch)
    plan = plan_offsets(source.model, scratch=scratch.sizes, order=order)
    data = emit(source, order, metadata=plan.metadata)
    done = verify_in_tflm(source, read(data), predicted_head_bytes=plan.head_bytes)
"""

from lowtide.backends.tflite.tflm.breakdown import HeadLoad, head_load, weights_bytes
from lowtide.backends.tflite.tflm.check import CheckedPlan, check_offsets, check_plan
from lowtide.backends.tflite.tflm.elide import Elision, find_elision
from lowtide.backends.tflite.tflm.estimate import estimate_scratch
from lowtide.backends.tflite.tflm.graph import ACCOUNTING, annotate
from lowtide.backends.tflite.tflm.in_place import Kernels
from lowtide.backends.tflite.tflm.metadata import METADATA, encode_offsets, stored_offsets
from lowtide.backends.tflite.tflm.pieces import elided_graph, keeps_in_place
from lowtide.backends.tflite.tflm.plan import OfflinePlan, greedy_head, plan_offsets
from lowtide.backends.tflite.tflm.scratch import KernelScratch, measure_scratch
from lowtide.backends.tflite.tflm.verify import (
    TflmMeasurement,
    TflmVerification,
    measure,
    verify_in_tflm,
)

__all__ = [
    "ACCOUNTING",
    "METADATA",
    "CheckedPlan",
    "Elision",
    "HeadLoad",
    "KernelScratch",
    "Kernels",
    "OfflinePlan",
    "TflmMeasurement",
    "TflmVerification",
    "annotate",
    "check_offsets",
    "check_plan",
    "elided_graph",
    "encode_offsets",
    "estimate_scratch",
    "find_elision",
    "greedy_head",
    "head_load",
    "keeps_in_place",
    "measure",
    "measure_scratch",
    "plan_offsets",
    "stored_offsets",
    "verify_in_tflm",
    "weights_bytes",
]
