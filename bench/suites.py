"""The suites of `lowtide bench`: which experiments they have, and with which arguments.

An experiment is a runner of this folder, a command of its own with more options than a suite uses;
its result carries its name.  `quick` is a part of it that takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from lowtide.errors import InputError, MissingExtraError

__all__ = ["EXTRAS", "SUITES", "Experiment", "Suite", "require", "suite_of"]

# The module by which an extra is known to be there, and the extra.
EXTRAS = {
    "tensorflow": "tensorflow",
    "tvm": "tvm",
    "tflite_micro": "edge",
    "ai_edge_litert": "edge",
    "tigris": "peers",
}


@dataclass(frozen=True, slots=True)
class Experiment:
    """One runner.

    Attributes:
        name: of the result.
        runner: its module, if that has another name.
        quick: its arguments for a quick run; None if it has no part that is quick.
        full: its arguments for a whole run.
        instances: whether it takes `--instances`.
        needs: modules of extras.
        optional: it is left out where these are missing: a peer that not everyone installs.
    """

    name: str
    runner: str = ""
    quick: tuple[str, ...] | None = None
    full: tuple[str, ...] = ()
    instances: bool = False
    needs: tuple[str, ...] = ()
    optional: bool = False

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"lowtide.bench.{self.runner or self.name}"


@dataclass(frozen=True, slots=True)
class Suite:
    """Experiments under one definition of what is measured."""

    summary: str
    peak: str
    experiments: tuple[Experiment, ...]


_LIVE = "most bytes of buffers live at once; views and results in place share storage"

SUITES: dict[str, Suite] = {
    "schedule": Suite(
        "orders: peaks, proofs and CPU-seconds, beside the orders of other compilers",
        f"{_LIVE}; no layout",
        (
            Experiment(
                "schedules",
                quick=("--runs", "1", "--time-limit", "20", "--baseline-time-limit", "1"),
                full=("--runs", "5", "--baseline-time-limit", "5"),
                instances=True,
            ),
            Experiment("growth", quick=("--sizes", "1000", "3000")),
            Experiment("tigris", needs=("tigris",), optional=True),
        ),
    ),
    "allocation": Suite(
        "layouts: heights of allocators at a capacity, and of arenas of optimal orders",
        "the highest address that a layout uses",
        (Experiment("allocations", quick=("--runs", "1", "--time-limit", "5"), instances=True),),
    ),
    "remat": Suite(
        "recomputation: overhead and proof at parts of the peak, beside published strategies",
        f"{_LIVE}; the budget is a part of the input order's peak",
        (
            Experiment(
                "remat",
                quick=("--seeds", "1", "--only", "train_50", "train_200"),
                instances=True,
            ),
            Experiment(
                "remat_fixed",
                "remat",
                full=("--order", "fixed", "--solver", "auto", "--seeds", "1"),
                instances=True,
            ),
            Experiment(
                "remat_blocks",
                "remat",
                full=("--solver", "blocks", "--seeds", "1", "--only", "transformer_20005"),
            ),
            Experiment("remat_solvers", quick=("--time-limit", "2"), instances=True),
            Experiment("remat_fronts", instances=True),
        ),
    ),
    "onnxruntime": Suite(
        "models in ONNX Runtime: peaks predicted and allocated, arenas, latencies",
        "bytes of activations and kernel scratch in a run, without weights and inputs",
        (
            Experiment("models", quick=("--threads", "1", "--only", "randwire", "nasnet", "darts")),
            Experiment("wirings"),
            Experiment("rewriting"),
            Experiment("op_costs"),
        ),
    ),
    "tflm": Suite(
        "int8 models in TensorFlow Lite Micro: loads, heads and arenas, in its interpreter",
        "bytes of the arena's head: tensors in steps of 16 bytes, and kernel scratch",
        (
            Experiment(
                "edge",
                quick=("--runs", "1", "--only", "randwire_32_s0", "nasnet_32"),
                needs=("tensorflow", "tflite_micro", "ai_edge_litert"),
            ),
            Experiment("tiling", needs=("tflite_micro", "ai_edge_litert")),
        ),
    ),
    "tensorflow": Suite(
        "training steps within budgets, beside recompute_grad and Checkmate's strategies",
        "bytes that TensorFlow's allocator hands out in a step, by its own log",
        (
            Experiment(
                "tensorflow",
                quick=(
                    *("--only", "VGG16", "--parts", "budgets", "--budgets", "0.5"),
                    *("--probes", "0", "--time-limit", "3"),
                ),
                needs=("tensorflow",),
            ),
            Experiment("xla_steps", needs=("tensorflow",)),
            Experiment("remat_ratios", needs=("tensorflow",)),
            Experiment("onnx_targets", needs=("tensorflow", "tflite_micro", "ai_edge_litert")),
            Experiment("onnx_conversions", needs=("tensorflow", "ai_edge_litert")),
            Experiment("onnx_conformance", needs=("tensorflow",)),
        ),
    ),
    "tvm": Suite(
        "TVM's memory plans and checkpoints beside ours, run by its virtual machine",
        "bytes of intermediate tensors, 64-byte aligned, without the results of the model",
        (
            Experiment(
                "tvm",
                quick=("--only", "light_squeezenet", "light_shufflenet", "--lean"),
                needs=("tvm",),
            ),
            Experiment("tvm_training", needs=("tvm",)),
            Experiment("tvm_c", quick=("lenet", "unet"), needs=("tvm",)),
        ),
    ),
}


def suite_of(experiment: str) -> Suite | None:
    """The suite that an experiment is part of."""
    for suite in SUITES.values():
        if any(each.name == experiment for each in suite.experiments):
            return suite
    return None


def require(name: str, experiment: Experiment) -> None:
    """Refuse an experiment whose extra is not installed.

    Raises:
        MissingExtraError: it names the extra.
        InputError: there is no such suite.
    """
    if name not in SUITES:
        raise InputError(f"there is no suite `{name}`; there are: {', '.join(SUITES)}")
    missing = [module for module in experiment.needs if find_spec(module) is None]
    if missing:
        extras = ",".join(dict.fromkeys(EXTRAS[module] for module in missing))
        raise MissingExtraError(
            f"suite {name}: {experiment.name} needs {', '.join(missing)}: "
            f'pip install "lowtide[{extras}]"'
        )
