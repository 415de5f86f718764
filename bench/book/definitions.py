"""Numbers of the pages that are no measurement of ours, each with what it is.

An entry covers the numbers in its words, and these only; so words are as few as make the place
unique. Figures of papers are quoted, with their source.
"""

from lowtide.bench.book.claim import Definition

__all__ = ["DEFINITIONS"]

_SERENITY = (
    "published: Ahn et al., SERENITY, MLSys 2020 (abstract; as quoted in bench/rewriting.py)"
)
_CHECKMATE = "published: Jain et al., Checkmate, MLSys 2020, table of approximation ratios"
_EXIT = "exit codes, as the command line has them (src/lowtide/errors.py)"
_LITERAL = "a value of the format"
_EXAMPLE = "the example's graph, which the tests run"

_STEP = "what the picture shows; docs/report.md says how it was made"

_README = "README.md"
_BENCH, _SOLVERS = "bench/README.md", "solvers/README.md"
_FORMATS, _PEAK, _REMAT = "docs/formats.md", "docs/peak.md", "docs/recomputation.md"
_REPORT, _REWRITING = "docs/report.md", "docs/rewriting.md"
_TRAINING, _TVM = "docs/training.md", "docs/tvm.md"
_CI, _LIMITS = "docs/guides/ci.md", "docs/limits.md"

DEFINITIONS = (
    Definition(_README, "(SERENITY reports 1.11x for its own)", _SERENITY),
    Definition(_README, "(16 bytes less fail)", "the step of the search; see docs/peak.md"),
    Definition(_README, "(64-bit pointers)", "the width of pointers of the measuring machine"),
    Definition(_README, "SERENITY reports 1.68 for its scheduling", _SERENITY),
    Definition(_README, "a MobileNetV2 at 96 px", "the size of its images"),
    Definition(_README, "had 5 seconds for each graph", "the run's baseline_time_limit_s"),
    Definition(_README, "ONNX Runtime 1.31's", "a version, pinned in pyproject.toml"),
    Definition(_README, "as 128-bit hashes", "the width of the hashes"),
    Definition(_BENCH, "it exits with 1 where", _EXIT),
    Definition(_BENCH, "exits with 1 on", _EXIT),
    Definition(_BENCH, "code is 1 where a median misses", _EXIT),
    Definition(_BENCH, "**Medians of five** runs", "the protocol"),
    Definition(_BENCH, "XLA's three orders", "the orders there are"),
    Definition(_BENCH, "with five seeds", "an option of the runner"),
    Definition(_BENCH, "then the median of five", "the protocol"),
    Definition(_BENCH, "64-bit pointers", "the width of pointers of the measuring machine"),
    Definition(_SOLVERS, "64-bit integers", "the width of the integers"),
    Definition(_SOLVERS, "Ahn et al., MLSys 2020", "a year"),
    Definition("docs/architecture.md", "`native/` is C++20", "the language's standard"),
    Definition(_FORMATS, "(at most 8), planned", "a limit of the report"),
    Definition(_FORMATS, "that 16 bytes less do not", "the step of the search; see docs/peak.md"),
    Definition(_FORMATS, "process 1 is the planned execution, 2 the source", _LITERAL),
    Definition(_FORMATS, "`producer` -1 is a graph input", _LITERAL),
    Definition(_FORMATS, "130: interrupted (Ctrl-C)", _EXIT),
    Definition(_FORMATS, "0: the bound holds; 5: it is not proven; 2: unreadable", _EXIT),
    Definition(_FORMATS, "flags as 0 or 1,", _LITERAL),
    Definition(_FORMATS, "(-1: from the start, to the end)", _LITERAL),
    Definition(_FORMATS, "reader -1 for a tensor that stays", _LITERAL),
    Definition(_FORMATS, "(-1 and -1 at the start)", _LITERAL),
    Definition(
        _FORMATS,
        "0 done (budget met, or none asked for), 1 internal error, 2 usage or unreadable input, 3 "
        "budget proven infeasible, 4 budget not met and not proven, 5 verification failed (of a "
        "model, or of a certificate). With 2 to 5",
        _EXIT,
    ),
    Definition(_PEAK, "rounded up to 64 bytes", "alignment"),
    Definition(_PEAK, "rounded up to 16 bytes", "alignment"),
    Definition(_PEAK, "64 bits; a device of 32 bits", "widths of pointers"),
    Definition(_PEAK, "in steps of 16 bytes", "the step of the search"),
    Definition(_PEAK, "aligned to 64 bytes", "alignment"),
    Definition(_PEAK, "at most 5 % more operations", "a limit (bench/tvm.py checks it)"),
    Definition(_REMAT, "profile of seven runs", "how often the model is run"),
    Definition(_REMAT, "exit code 3", _EXIT),
    Definition(_REMAT, "by the exact scheduler (0 %)", "an order without repeats costs nothing"),
    Definition(_REMAT, "for graphs of 5,000 to 20,000 ops", "what the solver is made for"),
    Definition(_REMAT, "Checkmate's stage program (MLSys 2020)", "a year"),
    Definition(_REMAT, "Chen et al. 2016", "a year"),
    Definition(
        _REMAT,
        "(there: Griewank 1.44 to 7.07, AP sqrt(n) 1.14 to 1.54, AP greedy 1.06 to 1.39, LP "
        "rounding 1.00 to 1.06)",
        _CHECKMATE,
    ),
    Definition(_REPORT, "For 3,000 ops it stays under 1 MB", "a limit; tests/pictures hold it"),
    Definition(_REPORT, "counted from 0", "the first step"),
    Definition(_REPORT, "A training step of ResNet50 within 0.4 of its peak", _STEP),
    Definition(_REPORT, "ResNet50, batch 8, 128x128", _STEP),
    Definition(_REPORT, "a palette of 255", "how the picture was made"),
    Definition(_REPORT, "Device 0 is the planned execution, device 1", _LITERAL),
    Definition(_REPORT, "| + \u2212 0 |", "a key"),
    Definition(_REPORT, "1640 across", "the size of the picture"),
    Definition(_REWRITING, "under a limit of 15 % more work", "a limit of the search"),
    Definition(_REWRITING, "allow 1e-5 of the largest result", "a tolerance of the tests"),
    Definition(_REWRITING, "MobileNetV2 0.35, int8", "the width of the network"),
    Definition(_REWRITING, "over 20,000 ops", "a limit (passes/rewrite/choose.py)"),
    Definition(_TRAINING, "A training step of ResNet50 within 0.4 of its peak", _STEP),
    Definition(_TRAINING, "A number in (0, 1]", "an interval"),
    Definition(_TRAINING, "(NaN, -0.0)", "a value"),
    Definition(_TRAINING, "the tests allow 1e-5", "a tolerance of the tests"),
    Definition(_TRAINING, "`steps_per_execution` over 1", "an option of Keras"),
    Definition(_TRAINING, "after three steps are those", "how often the step is run"),
    Definition(_TRAINING, "searches of 7 to 16 seconds", "time limits; the run's time_limit_s"),
    Definition(_TVM, "at most 5 % more operations", "a limit (bench/tvm.py checks it)"),
    Definition(_TVM, "every tensor is aligned to 64 bytes", "alignment"),
    Definition("docs/book/onnxruntime.md", "three branching networks", "bench/networks.py"),
    Definition("docs/book/orders.md", "(MLSys 2020, in KB)", "a year"),
    Definition("docs/book/recomputation.md", "Checkmate's Table 2", "where it is in the paper"),
    Definition("docs/book/tensorflow.md", "after three steps", "how often the step is run"),
    Definition("docs/book/tensorflow.md", "(its Figure 6 and text)", "where it is in the paper"),
    Definition("docs/guides/benchmark.md", "It exits with 1 where", _EXIT),
    Definition(_BENCH, "sizes in steps of 32 bytes", "TiGrIS's granule"),
    Definition(_BENCH, "the runner exits with 1 where they do not", _EXIT),
    Definition(_BENCH, "Vela's 16 bytes", "alignment"),
    Definition("docs/concepts/arenas.md", "aligned to 64 bytes", "alignment"),
    Definition("docs/concepts/in-place.md", "in version 1.31", "a version"),
    Definition("docs/concepts/orders.md", "The same six ops, twice", _EXAMPLE),
    Definition(
        "docs/concepts/orders.md",
        "read the 2 bytes that op 0 makes. Each grows to 9 bytes before it shrinks to 1; op 5",
        _EXAMPLE,
    ),
    Definition("docs/concepts/orders.md", "as many as 2^n ideals", "mathematics"),
    Definition("docs/concepts/proofs.md", "as 128-bit hashes", "the width of the hashes"),
    Definition("docs/concepts/proofs.md", "exit code 5", _EXIT),
    Definition(_CI, "All three look for the best plan", "the three that the sentence before names"),
    Definition(_CI, "| 0 | all models fit |", _EXIT),
    Definition(_CI, "| 2 | a model cannot be read", _EXIT),
    Definition(_CI, "| 3 | a model is proven not to fit |", _EXIT),
    Definition(_CI, "| 4 | a model does not fit", _EXIT),
    Definition(_CI, "2 before 3 before 4", _EXIT),
    Definition(_CI, "with a code other than 0", _EXIT),
    Definition("docs/guides/keras.md", "a part between 0 and 1", "an interval"),
    Definition("docs/guides/plugins.md", "four keywords", "the interface of a scheduler"),
    Definition("docs/guides/tflite-micro.md", "and 64-bit pointers", "the width of pointers"),
    Definition("docs/guides/tflite-micro.md", "with 32-bit pointers", "the width of pointers"),
    Definition("docs/guides/tflite-micro.md", "is 0 where the size", _LITERAL),
    Definition("docs/index.md", "plans all three for", "the three that the sentence before names"),
    Definition(_LIMITS, "Python from 3.11", "a version (pyproject.toml)"),
    Definition(_LIMITS, "as 128-bit hashes", "the width of the hashes"),
    Definition(_LIMITS, "Version 1.31,", "a version (pyproject.toml)"),
    Definition(_LIMITS, "on 64-bit pointers", "the width of pointers"),
    Definition(_LIMITS, "`steps_per_execution` over 1", "an option of Keras"),
    Definition(_LIMITS, "TensorFlow 2 with", "a version"),
    Definition(_LIMITS, "TVM 0.27", "a version (pyproject.toml)"),
    Definition(_LIMITS, "aligned to 64 bytes", "alignment"),
    Definition(
        _LIMITS,
        "over 2 GiB (weights may be external) or 2,000,000 nodes, instances of over 2^24 nodes, "
        "sizes that sum up above 2^60 bytes",
        "limits of the readers (frontends/onnx/limits.py, solvers/)",
    ),
    Definition(_LIMITS, "up to 20,000 ops", "a limit (passes/rewrite/choose.py)"),
    Definition("docs/start/edge.md", "whose pointers have 64 bits", "the width of pointers"),
    Definition("docs/start/edge.md", "Exit code 3 is a proof", _EXIT),
    Definition("docs/start/edge.md", "4 is a miss without a proof", _EXIT),
    Definition("docs/start/training.md", "six tenths", "the example's budget"),
)
