"""Sizes and durations as people write them."""

from __future__ import annotations

import re

from lowtide.errors import InputError

__all__ = ["format_bytes", "parse_bytes", "parse_seconds"]

_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*([kmgt]?)(i?b)?\s*\Z", re.IGNORECASE)
_TIME = re.compile(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*(ms|s|m|min|h)?\s*\Z")
_SECONDS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_bytes(text: str) -> int:
    """`256KiB`, `256K`, `1.5MiB`, `262144`, `300kB` as bytes, rounded down.

    `K` and `KiB` are 1024, `KB` is 1000; likewise M, G and T. Case does not matter.

    Raises:
        InputError: not a size, or not positive.
    """
    match = _SIZE.match(text)
    if match is None:
        raise InputError(f"`{text}` is not a size; write for example 256KiB, 1.5MiB, 8GB or 262144")
    number, letter, unit = (str(group or "") for group in match.groups())
    factor = _FACTORS[letter.lower()]
    if letter and unit.lower() == "b":
        factor = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}[letter.lower()]
    whole, _, fraction = number.partition(".")
    if fraction and not letter:
        raise InputError(
            f"`{text}` is no whole number of bytes: write it with a unit, as in 1.5MiB"
        )
    size: int = int(whole + fraction) * factor // 10 ** len(fraction)
    if size <= 0:
        raise InputError(f"the size `{text}` must be at least one byte")
    if size > 1 << 60:
        raise InputError(f"the size `{text}` is over 2^60 bytes")
    return size


def parse_seconds(text: str) -> float:
    """`30s`, `500ms`, `2m`, `1h`, or a bare number of seconds.

    Raises:
        InputError: not a duration.
    """
    match = _TIME.match(text)
    if match is None:
        raise InputError(f"`{text}` is not a duration; write for example 30s, 500ms, 2m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def format_bytes(count: int | None) -> str:
    """A size for people, exact in bytes below 10 KiB: `3.75 MiB`."""
    if count is None:
        return "-"
    if abs(count) < 10 * 1024:
        return f"{count:,} B"
    power = min((abs(count).bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:,.2f} {'KMGT'[power - 1]}iB"
