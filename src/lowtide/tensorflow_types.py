"""What Lowtide uses of TensorFlow: loading it lazily, and the shape of its objects.

TensorFlow has no type stubs; these protocols name the few members that are used, so that the rest
of the code is checked.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

from lowtide.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

__all__ = ["TfFunction", "TfGraph", "TfOperation", "TfTensor", "load_tensorflow"]


class TfDtype(Protocol):
    """`tf.DType`."""

    @property
    def name(self) -> str: ...
    @property
    def base_dtype(self) -> TfDtype: ...


class TfShape(Protocol):
    """`tf.TensorShape`."""

    def is_fully_defined(self) -> bool: ...
    def as_list(self) -> list[int]: ...


class TfTensor(Protocol):
    """A symbolic tensor of a graph."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> TfDtype: ...  # noqa: D102
    @property
    def shape(self) -> TfShape: ...  # noqa: D102
    @property
    def op(self) -> TfOperation: ...  # noqa: D102


class TfOpDef(Protocol):
    """The registered definition of an operator."""

    @property
    def is_stateful(self) -> bool: ...


class TfOperation(Protocol):
    """`tf.Operation`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def type(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> Sequence[TfTensor]: ...  # noqa: D102
    @property
    def outputs(self) -> Sequence[TfTensor]: ...  # noqa: D102
    @property
    def control_inputs(self) -> Sequence[TfOperation]: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def op_def(self) -> TfOpDef: ...  # noqa: D102
    @property
    def node_def(self) -> object: ...  # noqa: D102


class TfGraph(Protocol):
    """A `FuncGraph`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> Sequence[TfTensor]: ...  # noqa: D102
    @property
    def outputs(self) -> Sequence[TfTensor]: ...  # noqa: D102
    @property
    def control_outputs(self) -> Sequence[TfOperation]: ...  # noqa: D102
    def get_operations(self) -> Sequence[TfOperation]: ...  # noqa: D102


class TfFunction(Protocol):
    """A `ConcreteFunction`."""

    @property
    def graph(self) -> TfGraph: ...  # noqa: D102
    @property
    def captured_inputs(self) -> Sequence[object]: ...  # noqa: D102
    @property
    def structured_outputs(self) -> object: ...  # noqa: D102
    def __call__(self, *args: object, **kwargs: object) -> object: ...  # noqa: D102


def load_tensorflow(module: str = "tensorflow") -> ModuleType:
    """TensorFlow, or a module of it such as `tensorflow.python.framework.ops`.

    Raises:
        MissingExtraError: TensorFlow is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "tensorflow":
            raise
        raise MissingExtraError(
            'TensorFlow is not installed: pip install "lowtide[tensorflow]"'
        ) from error
