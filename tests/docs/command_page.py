"""The page on the command line, made of the commands themselves."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from lowtide.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["command_page", "commands"]

_HEAD = """# Command line

Made from the commands themselves: `pytest tests/docs --update-golden` writes this page anew.

`lowtide COMMAND --help` prints the same. `optimize` is also a command of its own: `optimize MODEL`
is `lowtide optimize MODEL`. Sizes are written `256KiB`, `64K` (1024), `300kB` (1000) or in bytes;
durations `500ms`, `30s`, `2m`, `1h`. Reports go to stdout, progress and errors to stderr; how a
command ended, its [exit code](formats.md#exit-codes) says.
"""


def commands() -> dict[str, object]:
    """Every command by what is typed after `lowtide`."""
    return dict(_commands(typer.main.get_command(app), ""))


def _commands(command: object, name: str) -> Iterator[tuple[str, object]]:
    below = cast("Mapping[str, object] | None", getattr(command, "commands", None))
    if below is None:
        yield name, command
        return
    for word, inner in below.items():
        yield from _commands(inner, f"{name} {word}".strip())


def command_page() -> str:
    """The page as Markdown."""
    return "\n".join((_HEAD, *(_section(name, command) for name, command in commands().items())))


def _section(name: str, command: object) -> str:
    parameters = cast("list[object]", getattr(command, "params", []))
    arguments = [p for p in parameters if getattr(p, "param_type_name", "") == "argument"]
    options = [p for p in parameters if p not in arguments]
    words = ["lowtide", name, *(["[OPTIONS]"] if options else []), *map(_metavar, arguments)]
    text = inspect.cleandoc(str(getattr(command, "help", "")))
    lines = [f"## lowtide {name}", "", "```text", " ".join(words), "```", "", text, ""]
    rows = [(_code(_metavar(p)), _meaning(p)) for p in arguments]
    rows += [(_spelling(p), _meaning(p)) for p in options]
    if rows:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [*(f"| {left} | {right} |" for left, right in rows), ""]
    return "\n".join(lines)


def _metavar(parameter: object) -> str:
    given = getattr(parameter, "metavar", None)
    return str(given or getattr(parameter, "name", ""))


def _spelling(parameter: object) -> str:
    names = [*getattr(parameter, "opts", []), *getattr(parameter, "secondary_opts", [])]
    if getattr(parameter, "is_flag", False):
        value = ""
    else:
        descriptor = getattr(parameter, "type_descriptor", None)
        kind = getattr(descriptor, "annotation", str)
        value = " " + (_metavar(parameter) if getattr(parameter, "metavar", None) else _kind(kind))
    return ", ".join(_code(f"{name}{value}") for name in names)


def _code(text: str) -> str:
    """As code in a cell of a table: a bar in backticks is read differently here and there."""
    return f"<code>{text.replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _kind(kind: object) -> str:
    """What to write for a value: the choices of an enumeration, else N or TEXT."""
    choices = cast("Mapping[str, object] | None", getattr(kind, "__members__", None))
    if choices is not None:
        return "|".join(str(choice) for choice in choices.values())
    return {Path: "PATH", int: "N"}.get(cast("type", kind), "TEXT")


def _meaning(parameter: object) -> str:
    # A star that is no emphasis, a bar that ends no cell.
    text = re.sub(r"([*|<])", r"\\\1", " ".join(str(getattr(parameter, "help", "") or "").split()))
    default = getattr(parameter, "default", None)
    notes: list[str] = []
    if getattr(parameter, "required", False):
        notes.append("Required.")
    elif default is not None and not isinstance(default, bool) and str(default):
        notes.append(f"Default: `{default}`.")
    if getattr(parameter, "multiple", False) and "repeated" not in text:
        notes.append("May be repeated.")
    return " ".join([text, *notes])
