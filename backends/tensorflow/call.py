"""Call an emitted function with Grappler off, for this function only."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lowtide.tensorflow_types import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["grappler_off", "rewriting_off"]


def rewriting_off() -> Any:
    """A `ConfigProto` under which the graph is run as it is."""
    proto = load_tensorflow("tensorflow.core.protobuf.config_pb2")
    config = proto.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1  # no common subexpressions, no folding
    return config


@contextmanager
def grappler_off() -> Generator[None]:
    """Functions called for the first time in here, on this thread, are run as they are.

    TensorFlow looks at these options when a function is called and keeps what it has made of the
    graph per function and options; they are the thread's, and put back afterwards.
    """
    module = load_tensorflow("tensorflow.python.eager.context")
    context = module.context()
    before = context.function_call_options
    context.function_call_options = module.FunctionCallOptions(
        executor_type=before.executor_type, config_proto=rewriting_off()
    )
    try:
        yield
    finally:
        context.function_call_options = before
