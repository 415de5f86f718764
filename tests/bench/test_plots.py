"""The book's pictures: what they show is in the results, and the committed ones are up to date."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lowtide.bench.book.results import RESULTS, ROOT
from lowtide.bench.plots.canvas import Canvas
from lowtide.bench.plots.command import main, stale
from lowtide.bench.plots.dumbbell import dumbbells
from lowtide.bench.plots.panels import Panel, panels
from lowtide.bench.plots.pictures import PICTURES
from lowtide.bench.plots.strip import Strip, strips

SVG = "{http://www.w3.org/2000/svg}"


def dots(text: str) -> list[str]:
    """What the discs of a picture say."""
    found = ElementTree.fromstring(text).iter(f"{SVG}circle")
    return [title.text or "" for disc in found for title in disc.iter(f"{SVG}title")]


def places(text: str) -> list[float]:
    return [float(d.get("cx", "nan")) for d in ElementTree.fromstring(text).iter(f"{SVG}circle")]


def test_the_committed_pictures_are_what_the_results_say(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert stale() == {}
    assert main(["--check"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_named_and_described(name: str) -> None:
    root = ElementTree.fromstring(PICTURES[name](ROOT / RESULTS))
    assert root.get("role") == "img"
    texts = [root.findtext(f"{SVG}{part}") or "" for part in ("title", "desc")]
    assert all(texts)
    assert root.get("viewBox")


def test_another_result_is_another_picture(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for path in (ROOT / RESULTS).glob("*.json"):
        document = json.loads(path.read_text())
        for measure in document["measures"]:
            if measure["case"] == "light_vgg19" and measure["who"] == "TVM":
                measure["value"] *= 2
        (results / path.name).write_text(json.dumps(document))
    assert {path.name for path in stale(results=results)} == {"tvm.svg"}
    assert {path.name for path in stale(folder=tmp_path)} == {f"{name}.svg" for name in PICTURES}


def test_a_strip_has_a_dot_for_every_case() -> None:
    row = Strip("a < b", (("x & y", 0, 1.0), ("z", 1, 2.0)))
    text = strips("title", "description", "axis", ("one", "two"), [row])
    assert dots(text) == ["x & y: 1.000x", "z: 2.000x"]
    *_, least, most = places(text)
    assert least < most
    assert "1.414x" in text  # the geometric mean


def test_dumbbells_are_parts_of_the_first() -> None:
    rows = {"net": (200, None, 50), "same": (10, 10, 10), "none": (None, 1, 1)}
    text = dumbbells("title", "description", "axis", ("a", "b", "ours"), rows)
    assert "net, ours: 50 bytes" in dots(text)
    assert not any(line.startswith(("net, b", "none")) for line in dots(text))
    assert "4.00x less" in text
    assert "1.00x less" in text


def test_panels_show_the_curve_and_the_rivals() -> None:
    panel = Panel("net", ((1.0, 0.0), (0.5, 12.0)), ((1, "theirs", 0.5, -3.0),))
    text = panels("title", "description", "axis", ("ours", "theirs"), [panel])
    ours = ["100% of the peak: +0.0 %", "50% of the peak: +12.0 %"]
    assert dots(text) == [*ours, "theirs, 50% of the peak: -3.0 %"]
    assert "+10 %" in text


def test_text_is_escaped() -> None:
    canvas = Canvas(10, 10, "<t>", "&")
    canvas.text(0, 0, "<script>")
    canvas.dot(0, 0, "s0", '"<')
    assert ElementTree.fromstring(str(canvas)).findtext(f"{SVG}text") == "<script>"
