"""The suites of `lowtide bench`: which experiments they have, and with which arguments.

An experiment is a runner of this folder, a command of its own with more options than a suite uses;
its result carries its name.  `quick` is a part of it that takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from lowtide.errors import InputError, MissingExtraError

__all__ = ["EXTRAS", "SUITES", "Experiment", "Suite", "peak_of", "require"]

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
        peak: what the word means in it, where that is not what its suite says.
    """

    name: str
    runner: str = ""
    quick: tuple[str, ...] | None = None
    full: tuple[str, ...] = ()
    instances: bool = False
    needs: tuple[str, ...] = ()
    optional: bool = False
    peak: str = ""

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"lowtide.bench.{self.runner or self.name}"


@dataclass(frozen=True, slots=True)
class Suite:
    """Experiments under one definition of peak, but for those that have their own."""

    summary: str
    peak: str
    experiments: tuple[Experiment, ...]


_LIVE = "most bytes of the instance's buffers live at once; in place only what it lists"
_BUDGETED = f"{_LIVE}; the budget is a part of the input order's peak"

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
            Experiment(
                "tigris",
                needs=("tigris",),
                optional=True,
                peak="most bytes live at once, inputs among them: by TiGrIS's definition, nothing "
                "in place and sizes in steps of 32 bytes; of the file's operators, as ONNX Runtime "
                "holds them",
            ),
        ),
    ),
    "allocation": Suite(
        "layouts: heights of allocators at a capacity, and of arenas of optimal orders",
        "the highest address that a layout uses",
        (Experiment("allocations", quick=("--runs", "1", "--time-limit", "5"), instances=True),),
    ),
    "remat": Suite(
        "recomputation: overhead and proof at parts of the peak, beside published strategies",
        _BUDGETED,
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
            Experiment(
                "rewriting",
                peak="bytes of activations and kernel scratch in a run of ONNX Runtime, or in the "
                "head of TensorFlow Lite Micro's arena",
            ),
            Experiment("op_costs", peak="not measured: costs of operators"),
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
            Experiment(
                "xla_steps",
                needs=("tensorflow",),
                peak="bytes of the buffers that XLA assigns: temporaries and results",
            ),
            Experiment(
                "remat_ratios",
                needs=("tensorflow",),
                peak=f"{_BUDGETED}, planned and not run",
            ),
            Experiment(
                "onnx_targets",
                needs=("tensorflow", "tflite_micro", "ai_edge_litert"),
                peak="bytes that a call allocates, in TensorFlow and in LiteRT; in TensorFlow Lite "
                "Micro the least arena that works",
            ),
            Experiment(
                "onnx_conversions",
                needs=("tensorflow", "ai_edge_litert"),
                peak="not measured: errors and seconds of conversions",
            ),
            Experiment(
                "onnx_conformance",
                needs=("tensorflow",),
                peak="not measured: tests that pass",
            ),
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
            Experiment(
                "tvm_training",
                needs=("tvm",),
                peak="bytes that the first run of a step in TVM's virtual machine takes, measured",
            ),
            Experiment(
                "tvm_c",
                quick=("lenet", "unet"),
                needs=("tvm",),
                peak="bytes of the static arena: every tensor between input and result, and every "
                "kernel's scratch",
            ),
        ),
    ),
}


def peak_of(experiment: str) -> str:
    """What the word peak means in an experiment; nothing where no suite has it."""
    for suite in SUITES.values():
        for each in suite.experiments:
            if each.name == experiment:
                return each.peak or suite.peak
    return ""


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
