"""Which distribution TensorFlow came with."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["tensorflow_packages"]

_NAMES = ("tensorflow-cpu", "tensorflow")


def tensorflow_packages() -> tuple[str, ...]:
    """Its name, the only element; nothing where it is not installed."""
    for name in _NAMES:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return (name,)
    return ()
