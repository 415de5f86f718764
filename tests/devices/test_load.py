"""Device profiles: ours are valid and as their sources say; a bad one is refused with a reason."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import lowtide.devices
from lowtide.devices import KERNEL_LIBRARIES, MEMORY_KINDS, Device, available, load_device
from lowtide.devices.load import parse_device
from lowtide.errors import InputError

FOLDER = Path(lowtide.devices.__file__).parent
SCHEMA = cast("dict[str, Any]", json.loads((FOLDER / "device.schema.json").read_text()))

GOOD = """\
schema: lowtide.device/1
name: my-board
title: My board
chip: a chip
flash: 512KiB
memories:
  - {name: FAST, kind: tcm, size: 64KiB, reserved: 1024}
  - {name: SLOW, kind: psram, size: 1MiB}
pointer_bytes: 4
kernels: cmsis-nn
sources: [the datasheet]
"""


def test_ours() -> None:
    """Bytes of flash, and of each memory with what is reserved of it, as the sources state them."""
    kib = 1024
    stated = {
        "arduino-nano-33-ble-sense": (1024 * kib, (256 * kib,)),
        "esp32-s3-psram": (8192 * kib, (320 * kib, 8192 * kib)),
        "rp2040": (2048 * kib, (264 * kib,)),
        "rp2350": (4096 * kib, (520 * kib,)),
        "stm32f746": (1024 * kib, (64 * kib, 256 * kib)),
        "stm32h743": (2048 * kib, tuple(n * kib for n in (128, 512, 128, 128, 32, 64))),
        "teensy41": (7936 * kib, (512 * kib, 512 * kib)),
    }
    found = {
        name: (device.flash_bytes, tuple(m.available_bytes for m in device.memories))
        for name, device in ((name, load_device(name)) for name in available())
    }
    assert found == stated


@pytest.mark.parametrize("name", available())
def test_ours_are_whole(name: str) -> None:
    device = load_device(name)
    assert device.name == name
    assert device.pointer_bytes == 4
    assert all(re.match(r"https://\S+\Z", source) for source in device.sources)
    jsonschema.validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()), SCHEMA)
    assert json.loads(json.dumps(device.to_json()))["sram_bytes"] == device.sram_bytes


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(GOOD)
    device = load_device(path)
    assert device == load_device(str(path))
    assert isinstance(device, Device)
    fast, slow = device.memories
    assert (fast.available_bytes, fast.on_chip, slow.on_chip) == (63 * 1024, True, False)
    assert device.sram_bytes == 64 * 1024
    assert device.available_bytes == 1024 * 1024
    assert device.note == ""


BAD = {
    "empty": ("", "no keys with values"),
    "a list": ("[1, 2]", "a list, no keys"),
    "no YAML": ("a: [", "line 1: not YAML"),
    "control characters": ("a: \x00", "not YAML"),
    "two documents": (GOOD + "---\na: 1\n", "not YAML"),
    "another schema": (GOOD.replace("device/1", "device/9"), "schema: `lowtide.device/9`"),
    "unknown key": (GOOD + "colour: red\n", "`colour` is no key of a device profile"),
    "key that is no text": (GOOD + "7: red\n", "`7` is no key"),
    "key that is a list": (GOOD + "? [a, b]\n: 1\n", "not YAML"),
    "repeated key": (GOOD + "flash: 1MiB\n", "the key `flash` is there twice"),
    "missing key": (GOOD.replace("chip: a chip\n", ""), "chip is missing: add it"),
    "name with a slash": (GOOD.replace("my-board", "a/b"), "name: `a/b` is not a name"),
    "number for a text": (GOOD.replace("My board", "7"), "title: `7` is not text"),
    "empty text": (GOOD.replace("My board", "''"), "title: `` is not text"),
    "nothing": (GOOD.replace("My board", ""), "title: nothing is not text"),
    "negative flash": (GOOD.replace("512KiB", "-1"), "flash: `-1` is not a size from 1 to"),
    "flash in words": (GOOD.replace("512KiB", "plenty"), "flash: `plenty` is not a size"),
    "flash as a fraction": (GOOD.replace("512KiB", "1.5"), "flash: `1.5` is not a size: write"),
    "flash as a truth": (GOOD.replace("512KiB", "true"), "flash: `True` is not a size"),
    "huge flash": (
        GOOD.replace("512KiB", "0x" + "f" * 9000),
        "flash: a large number is not a size",
    ),
    "endless digits": (GOOD.replace("512KiB", "9" * 9000), "a value cannot be read"),
    "no memory": (re.sub(r"memories:\n.*\n.*\n", "memories: []\n", GOOD), "at least one memory"),
    "memory as text": (re.sub(r"memories:\n.*\n.*\n", "memories: [RAM]\n", GOOD), "memories[0]"),
    "memories as text": (re.sub(r"memories:\n.*\n.*\n", "memories: RAM\n", GOOD), "not a list"),
    "too many": (
        re.sub(
            r"memories:\n.*\n.*\n",
            "memories:\n" + "".join(f"- {{name: m{k}, kind: sram, size: 1}}\n" for k in range(17)),
            GOOD,
        ),
        "17 entries are too many",
    ),
    "kind": (GOOD.replace("psram", "core"), "memories[1].kind: `core` is not one of tcm, sram"),
    "same name": (GOOD.replace("SLOW", "FAST"), "memories[1].name: `FAST` is taken"),
    "all reserved": (
        GOOD.replace("reserved: 1024", "reserved: 64KiB"),
        "memories[0].reserved: `64KiB` leaves nothing",
    ),
    "unknown in a memory": (GOOD.replace("reserved", "spare"), "`spare` is no key"),
    "pointers": (GOOD.replace("bytes: 4", "bytes: 3"), "pointer_bytes: `3` is not 2, 4 or 8"),
    "a pointer's text": (GOOD.replace("bytes: 4", "bytes: '4'"), "`4` is not 2, 4 or 8"),
    "kernels": (GOOD.replace("cmsis-nn", "mine"), "`mine` is not one of reference, cmsis-nn"),
    "sources": (GOOD.replace("[the datasheet]", "[]"), "sources: a list is not a list of texts"),
    "source": (GOOD.replace("[the datasheet]", "[1]"), "sources: a list is not a list of texts"),
    "anchor": (GOOD.replace("title: My", "title: &a My"), "line 3: anchors and aliases"),
    "alias": (GOOD + "note: *a\n", "anchors and aliases are refused"),
    "tag": (GOOD + "note: !!python/name:os.system\n", "tag tag:yaml.org,2002:python/name"),
    "deep": (GOOD + "note: " + "[" * 3000 + "]" * 3000 + "\n", "nested deeper than 8"),
    "a date that is none": (GOOD + "note: 2026-99-99\n", "a value cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    text, reason = BAD[name]
    with pytest.raises(InputError) as caught:
        parse_device(text, "board.yaml")
    message = str(caught.value)
    assert message.startswith("board.yaml: ")
    assert reason in message
    assert len(message) < 400


def test_refused_files(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_text(GOOD + "#" * (1 << 16))
    with pytest.raises(InputError, match="too large for a device profile"):
        load_device(large)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_device(binary)
    with pytest.raises(InputError, match=r"no device .*did you mean `rp2040`"):
        load_device("rp2o40")
    with pytest.raises(InputError, match=r"no device .*and no file of that name \(`lowtide"):
        load_device(tmp_path)


# Values that break a rule, and values that do not.  JSON Schema takes 1.0 for an integer, the
# reader does not, so there is no such number here.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 1 << 41),
    st.floats(allow_nan=False).filter(lambda x: not x.is_integer()),
    st.sampled_from(["", " ", "256KiB", "1.5MiB", "12", "x", "cmsis-nn", "sram", "RAM 1", "4"]),
    st.lists(st.sampled_from(["a", ""]), max_size=2),
    st.dictionaries(st.sampled_from(["name", "size"]), st.just("sram"), max_size=2),
)


@given(
    st.dictionaries(
        st.sampled_from(["name", "title", "flash", "pointer_bytes", "kernels", "sources", "note"]),
        VALUES,
        max_size=2,
    ),
    st.dictionaries(st.sampled_from(["name", "kind", "size", "reserved"]), VALUES, max_size=2),
)
def test_the_schema_and_the_reader_agree(
    changes: dict[str, object], memory: dict[str, object]
) -> None:
    document = cast("dict[str, Any]", yaml.safe_load(GOOD))
    document.update(changes)
    document["memories"][1].update(memory)
    try:
        jsonschema.validate(document, SCHEMA)
        valid = True
    except jsonschema.ValidationError:
        valid = False
    try:
        parse_device(yaml.safe_dump(document), "board.yaml")
        read = True
    except InputError as error:
        read = False
        # What a schema cannot say: names that are taken, memory that is all reserved, the size 0.
        beyond = ("is taken", "leaves nothing", "over 2^60", "at least one byte", "to 2^40 bytes")
        if valid and any(reason in str(error) for reason in beyond):
            return
    assert read == valid


def test_the_schema_knows_every_choice() -> None:
    properties = SCHEMA["properties"]
    assert tuple(properties["kernels"]["enum"]) == KERNEL_LIBRARIES
    memory = properties["memories"]["items"]["properties"]
    assert tuple(memory["kind"]["enum"]) == MEMORY_KINDS


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"\Aboard\.yaml: "):
        parse_device(text, "board.yaml")


@given(st.data())
@settings(max_examples=300)
def test_a_damaged_profile_is_read_or_refused(data: st.DataObject) -> None:
    """Some characters replaced, by those that mean something in YAML."""
    text = list(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(st.sampled_from("{}[]:,-&*!|>'\"%@`#?\n\t 0~\\\x85\ufeff"))
    message, room = "", 1
    try:
        room = parse_device("".join(text), "board.yaml").available_bytes
    except InputError as error:
        message = str(error)
    assert 0 < room <= 1 << 40
    assert not message or message.startswith("board.yaml: ")
    assert len(message) < 400
