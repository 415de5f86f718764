"""Reading profiles: ours by name, the user's from a file, all checked alike.

A file is not trusted: its size and depth are bounded before it is parsed, there are no anchors or
tags, keys are neither unknown nor repeated, and an error names the key, its value and the remedy.
"""

from __future__ import annotations

import difflib
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lowtide.devices.profile import KERNEL_LIBRARIES, MEMORY_KINDS, Device, Memory
from lowtide.errors import InputError
from lowtide.units import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["available", "load_device", "parse_device"]

_Text = TypeVar("_Text", bound=str)

_FOLDER = Path(__file__).parent
_SCHEMA = "lowtide.device/1"
_MOST_BYTES = 1 << 16
_MOST_DEPTH = 8
_MOST_SIZE = 1 << 40
_MOST_MEMORIES = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}\Z")

_DEVICE_KEYS = (
    "schema",
    "name",
    "title",
    "chip",
    "flash",
    "memories",
    "pointer_bytes",
    "kernels",
    "sources",
    "note",
)
_MEMORY_KEYS = ("name", "kind", "size", "reserved")


def available() -> tuple[str, ...]:
    """The names of the profiles that come with Lowtide."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_device(name_or_file: str | Path) -> Device:
    """A profile by its name, or from a YAML file.

    Raises:
        InputError: no such profile, or the file is unreadable or no valid profile.
    """
    text = str(name_or_file)
    names = available()
    if isinstance(name_or_file, str) and text in names:
        path = _FOLDER / f"{text}.yaml"
    else:
        path = Path(name_or_file)
        if not path.is_file():
            near = difflib.get_close_matches(text, names, 1, 0.4)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise InputError(
                f"there is no device `{text}`, and no file of that name{hint} "
                f"(`lowtide devices` lists them)"
            )
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path} is over {_MOST_BYTES:,} bytes: too large for a device profile")
    try:
        return parse_device(content.decode("utf-8"), str(path))
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: write a device profile in YAML") from None


def parse_device(text: str, where: str) -> Device:
    """A profile from YAML; `where` is for messages.

    Raises:
        InputError: not a valid profile.
    """
    fields = _Fields(_yaml(text, where), where, "")
    fields.only(_DEVICE_KEYS)
    schema = fields.text("schema")
    if schema != _SCHEMA:
        raise fields.wrong("schema", f"is not one that is known: write {_SCHEMA}")
    name = fields.text("name")
    if not _NAME.match(name):
        raise fields.wrong("name", "is not a name: use letters, digits and . _ + - (at most 64)")
    memories = tuple(_memory(entry) for entry in fields.entries("memories", _MOST_MEMORIES))
    names = [memory.name for memory in memories]
    for position, memory in enumerate(names):
        if memory in names[:position]:
            raise InputError(
                f"{where}: memories[{position}].name: `{memory}` is taken: give each memory its own"
            )
    pointer = fields.get("pointer_bytes")
    if not isinstance(pointer, int) or pointer not in (2, 4, 8):
        raise fields.wrong("pointer_bytes", "is not 2, 4 or 8")
    return Device(
        name=name,
        title=fields.text("title"),
        chip=fields.text("chip"),
        flash_bytes=fields.size("flash"),
        memories=memories,
        pointer_bytes=pointer,
        kernels=fields.choice("kernels", KERNEL_LIBRARIES),
        sources=fields.texts("sources"),
        note=fields.text("note") if fields.has("note") else "",
    )


def _memory(fields: _Fields) -> Memory:
    fields.only(_MEMORY_KEYS)
    name = fields.text("name")
    if not _NAME.match(name):
        raise fields.wrong("name", "is not a name: use letters, digits and . _ + - (at most 64)")
    size = fields.size("size")
    reserved = fields.size("reserved", least=0) if fields.has("reserved") else 0
    if reserved >= size:
        raise fields.wrong(
            "reserved", f"leaves nothing of the memory's {size:,} bytes: lower it, or leave it out"
        )
    return Memory(name, fields.choice("kind", MEMORY_KINDS), size, reserved)


class _Fields:
    """One mapping of the file: values by key, each error with its place."""

    def __init__(self, values: object, where: str, prefix: str) -> None:
        if not isinstance(values, dict):
            place = prefix.rstrip(".") or "the file"
            raise InputError(f"{where}: {place} holds {_show(values)}, no keys with values")
        self._values = cast("Mapping[object, object]", values)
        self._where = where
        self._prefix = prefix

    def wrong(self, key: str, what: str) -> InputError:
        value = _show(self._values.get(key))
        return InputError(f"{self._where}: {self._prefix}{key}: {value} {what}")

    def only(self, keys: tuple[str, ...]) -> None:
        for key in self._values:
            if key not in keys:
                raise InputError(
                    f"{self._where}: {self._prefix or 'the file: '}{_show(key)} is no key of a "
                    f"device profile: the keys here are {', '.join(keys)}"
                )

    def has(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str) -> object:
        if key not in self._values:
            raise InputError(f"{self._where}: {self._prefix}{key} is missing: add it")
        return self._values[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value.strip() or not value.strip().isprintable():
            raise self.wrong(key, "is not text on one line: write text, in quotes where needed")
        return value.strip()

    def choice(self, key: str, options: tuple[_Text, ...]) -> _Text:
        value = self.text(key)
        for option in options:
            if option == value:
                return option
        raise self.wrong(key, f"is not one of {', '.join(options)}")

    def texts(self, key: str) -> tuple[str, ...]:
        """At least one."""
        values = self.get(key)
        found: list[str] = []
        for value in cast("list[object]", values) if isinstance(values, list) else []:
            if not isinstance(value, str) or not value.strip() or not value.isprintable():
                raise self.wrong(key, "is not a list of texts")
            found.append(value)
        if not found:
            raise self.wrong(key, "is not a list of texts: give at least one")
        return tuple(found)

    def size(self, key: str, least: int = 1) -> int:
        value = self.get(key)
        if isinstance(value, str):
            try:
                value = parse_bytes(value)
            except InputError as error:
                raise InputError(f"{self._where}: {self._prefix}{key}: {error}") from None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(key, "is not a size: write bytes such as 262144, or 256KiB")
        if not least <= value <= _MOST_SIZE:
            raise self.wrong(key, f"is not a size from {least} to 2^40 bytes")
        return value

    def entries(self, key: str, most: int) -> list[_Fields]:
        """The mappings of a list that is neither empty nor longer than `most`."""
        values = self.get(key)
        if not isinstance(values, list) or not values:
            raise self.wrong(key, "is not a list with entries: name at least one memory")
        items = cast("list[object]", values)
        if len(items) > most:
            raise InputError(
                f"{self._where}: {self._prefix}{key}: {len(items)} entries are too many: "
                f"at most {most}"
            )
        return [
            _Fields(item, self._where, f"{self._prefix}{key}[{index}].")
            for index, item in enumerate(items)
        ]


def _show(value: object) -> str:
    """A value for a message: no longer than a line."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and abs(value) >= 1 << 200:
        return "a large number"  # Python refuses to print the largest
    text = str(value)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:60]}...`"


def _yaml(text: str, where: str) -> object:
    """The document, if it has no anchors, tags, repeated keys or deep nesting."""
    yaml: Any = importlib.import_module("yaml")
    try:
        _check_events(yaml, text, where)
        _check_keys(yaml.compose(text, Loader=yaml.SafeLoader), where)
        return cast("object", yaml.safe_load(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"{where}: {place}not YAML: {problem}") from None
    except ValueError as error:  # such as a date that there is not, or digits without end
        raise InputError(f"{where}: a value cannot be read: {error}") from None


def _check_events(yaml: Any, text: str, where: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise InputError(f"{where}: {line}: anchors and aliases are refused: write it out")
        if getattr(event, "tag", None) is not None:
            raise InputError(f"{where}: {line}: the tag {event.tag} is refused: write plain values")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MOST_DEPTH:
            raise InputError(f"{where}: {line}: nested deeper than {_MOST_DEPTH}: no profile is")


def _check_keys(node: Any, where: str) -> None:
    """No mapping has a key twice: YAML would take the last without a word."""
    kind = getattr(node, "id", "")
    if kind == "sequence":
        for entry in node.value:
            _check_keys(entry, where)
    elif kind == "mapping":
        seen: set[str] = set()
        for key, value in node.value:
            if key.id == "scalar" and key.value in seen:
                line = key.start_mark.line + 1
                raise InputError(f"{where}: line {line}: the key `{key.value[:40]}` is there twice")
            seen.add(str(key.value))
            _check_keys(value, where)
