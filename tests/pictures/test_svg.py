"""Pictures and traces: well-formed, the same for the same scene, with the simulator's figures."""

from __future__ import annotations

import json
import re
import sys
import types
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.errors import MissingExtraError
from lowtide.pictures.png import require_png, to_png
from lowtide.pictures.shapes import Frame, curve, round_up, tick_label, ticks
from lowtide.pictures.svg import Curve, draw, draw_curves
from lowtide.pictures.trace import chrome_trace
from tests.pictures.scenes import network, scene_of

if TYPE_CHECKING:
    from lowtide.pictures.scene import Scene
    from lowtide.planning import Planned

_SVG = "{http://www.w3.org/2000/svg}"


def _heights(path: str, frame: Frame) -> list[float]:
    """Read a curve back: its height over every step, in bytes."""
    x = y = 0.0
    found: dict[int, float] = {}
    for command, number in _commands(path):
        if command == "h":
            for step in range(round(x), round(x + number)):
                found[step] = y
            x += number
        elif command == "v":
            y += number
    return [
        (frame.height - found[step]) * frame.bytes / frame.height for step in range(frame.steps)
    ]


def _commands(path: str) -> list[tuple[str, float]]:
    """The relative commands of a path that starts at the lower left, its start as the first."""
    floor = path.split("h", maxsplit=1)[0].split("v", maxsplit=1)[0].split()[1]
    moves: list[tuple[str, str]] = re.findall(r"([hv])(-?[0-9.]+)", path)
    return [("v", float(floor)), *((command, float(number)) for command, number in moves)]


@given(values=st.lists(st.integers(0, 10**9), min_size=1, max_size=60))
def test_a_curve_is_its_values(values: list[int]) -> None:
    frame = Frame(0, 0, len(values), 4000, len(values), max(*values, 1), 0)
    read = _heights(curve(values, frame), frame)
    unit = frame.bytes / frame.height
    assert all(abs(a - b) <= unit for a, b in zip(read, values, strict=True))


@given(count=st.integers(1, 1 << 50))
def test_a_scale_has_few_round_ticks(count: int) -> None:
    top, distance = round_up(count)
    assert top >= count
    assert top % distance == 0
    assert 1 <= top // distance <= 6


@given(count=st.integers(1, 1 << 50))
def test_ticks_have_different_short_labels(count: int) -> None:
    top, distance = round_up(count)
    labels = [tick_label(at, top) for at in range(0, top + 1, distance)]
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 8 for label in labels)


def test_labels_are_in_the_unit_of_the_scale() -> None:
    assert [tick_label(n, 20480) for n in (0, 4096, 20480)] == ["0", "4 KiB", "20 KiB"]
    assert tick_label(512, 640) == "512 B"
    assert tick_label(1 << 19, 1 << 20) == "0.5 MiB"


@given(steps=st.integers(0, 10**6), most=st.integers(4, 12))
def test_steps_are_marked_at_round_numbers(steps: int, most: int) -> None:
    marks = ticks(steps, most)
    assert marks[0] == 0
    assert len(marks) <= most + 1
    assert all(mark <= steps for mark in marks)


def test_a_picture_is_svg_and_the_same_again(repeated: tuple[Planned, Scene]) -> None:
    scene = repeated[1]
    picture = draw(scene)
    assert picture == draw(scene)
    root = ElementTree.fromstring(picture)
    assert root.tag == f"{_SVG}svg"
    assert root.findtext(f"{_SVG}title") == f"Live bytes while {scene.name} runs"
    text = "".join(root.itertext())
    for word in ("before", "after", "lower bound", "budget", "recomputed"):
        assert word in text
    assert not root.findall(f".//{_SVG}script")
    assert not root.findall(f".//{_SVG}style")


def test_hostile_names_stay_text_in_a_picture() -> None:
    title = "</title><script>alert(1)</script>\x00\ud800.onnx"
    root = ElementTree.fromstring(draw(scene_of(network(8, "op{}".format), title)))
    assert not root.findall(f".//{_SVG}script")
    curves = [Curve("a<b>&\x01", (1, 2), "#000000"), Curve("b", (3,), "#ffffff")]
    assert "a<b>&" in "".join(ElementTree.fromstring(draw_curves("c", curves)).itertext())


def test_a_long_execution_stays_small() -> None:
    values = tuple((i * 7919) % 100_003 for i in range(200_000))
    picture = draw_curves("long", [Curve("long", values, "#000000")])
    assert len(picture) < 300_000


def test_a_trace_has_every_step(repeated: tuple[Planned, Scene]) -> None:
    made, scene = repeated
    text = chrome_trace(scene)
    assert text == chrome_trace(scene)
    events = json.loads(text)["traceEvents"]
    slices = [event for event in events if event["ph"] == "X" and event["pid"] == 1]
    assert [event["name"] for event in slices] == [s.op.name for s in made.timeline.steps]
    counted = [
        event["args"]["bytes"] for event in events if event["ph"] == "C" and event["pid"] == 1
    ]
    assert counted == [*(step.live_bytes for step in made.timeline.steps), 0]
    assert {event["pid"] for event in events} == {1, 2}
    peak = next(event for event in events if event["ph"] == "i" and event["pid"] == 1)
    assert peak["ts"] == slices[made.timeline.peak_step]["ts"]


def test_pixels_come_from_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("cairosvg")

    def svg2png(*, bytestring: bytes, scale: float) -> bytes:
        return b"PNG" + bytestring[:4] + str(scale).encode()

    module.svg2png = svg2png  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cairosvg", module)
    assert to_png("<svg/>") == b"PNG<svg2.0"


def _no_package(name: str) -> None:
    del name


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(MissingExtraError, match=r"lowtide\[png\]"):
        to_png("<svg/>")
    monkeypatch.delitem(sys.modules, "cairosvg")
    monkeypatch.setattr("lowtide.pictures.png.find_spec", _no_package)
    with pytest.raises(MissingExtraError, match=r"lowtide\[png\]"):
        require_png()
