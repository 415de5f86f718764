"""TensorFlow, imported on first use: the registry and its checks work without it."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, Protocol

from lowtide.errors import MissingExtraError

__all__ = ["Tensor", "internal", "tf"]


class _TensorFlow:
    """Stands for the module `tensorflow` until an attribute is asked for."""

    def __getattr__(self, name: str) -> object:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        value: object = getattr(internal("tensorflow"), name)
        setattr(self, name, value)
        return value


def internal(name: str) -> Any:
    """A module of TensorFlow.

    Raises:
        MissingExtraError: TensorFlow is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f'{error.name} is not installed: pip install "lowtide[tensorflow]"'
        ) from None


if TYPE_CHECKING:
    tf: Any
else:
    tf = _TensorFlow()


class Tensor(Protocol):
    """What the emitter asks of a `tf.Tensor`."""

    @property
    def shape(self) -> Any: ...  # noqa: D102
    @property
    def dtype(self) -> Any: ...  # noqa: D102
    def __add__(self, other: Any, /) -> Tensor: ...
    def __radd__(self, other: Any, /) -> Tensor: ...
    def __sub__(self, other: Any, /) -> Tensor: ...
    def __rsub__(self, other: Any, /) -> Tensor: ...
    def __mul__(self, other: Any, /) -> Tensor: ...
    def __rmul__(self, other: Any, /) -> Tensor: ...
    def __truediv__(self, other: Any, /) -> Tensor: ...
    def __rtruediv__(self, other: Any, /) -> Tensor: ...
    def __floordiv__(self, other: Any, /) -> Tensor: ...
    def __mod__(self, other: Any, /) -> Tensor: ...
    def __neg__(self) -> Tensor: ...
    def __lt__(self, other: Any, /) -> Tensor: ...
    def __le__(self, other: Any, /) -> Tensor: ...
    def __gt__(self, other: Any, /) -> Tensor: ...
    def __ge__(self, other: Any, /) -> Tensor: ...
    def __getitem__(self, index: Any, /) -> Tensor: ...
