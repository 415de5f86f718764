"""The README's first picture: its figures are those of the committed results."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from lowtide.backends.tflite.tflm import greedy_head, head_load, measure_scratch
from lowtide.bench.hero import Side, draw, occupied, sides
from lowtide.bench.mobilenet import mobilenet_v2
from lowtide.frontends.tflite import read

_ROOT = Path(__file__).parents[2]
_SVG = "{http://www.w3.org/2000/svg}"


def _words(picture: str) -> str:
    root = ElementTree.fromstring(picture)
    return " ".join("".join(each.itertext()) for each in root.iter(f"{_SVG}text"))


def test_the_committed_picture_says_what_was_measured() -> None:
    rows = json.loads((_ROOT / "bench" / "results" / "tiling.json").read_text())["rows"]
    picture = (_ROOT / "docs" / "pictures" / "hero.svg").read_text()
    words = _words(picture)
    for way in ("file", "arena"):
        row = next(
            r for r in rows if r["way"] == way and r["network"] == "MobileNetV2 0.35, 144x144"
        )
        assert f"{row['arena_bytes']:,} bytes" in words
        assert f"{row['arena_bytes'] - row['head_bytes']:,} bytes" in words
        assert f"{row['operators']} operators" in words
    assert f"{100 * row['more_operations']:.1f} % more arithmetic" in words
    assert "does not fit" in words
    root = ElementTree.fromstring(picture)
    assert {each.tag for each in root.iter()} <= {
        f"{_SVG}{name}" for name in ("svg", "title", "desc", "style", "rect", "text", "path")
    } | {f"{_SVG}clipPath"}
    assert "prefers-color-scheme: dark" in picture
    assert "url(http" not in picture


def test_a_picture_says_what_fits_and_what_does_not() -> None:
    small, large = Side((1000, 2000), 2000, 3000), Side((300_000,), 300_000, 310_000)
    words = _words(draw(large, small, 0.5))
    assert words.count("does not fit") == 1
    assert "50.0 % more arithmetic" in words
    assert "the interpreter's own: 1,000 bytes" in words
    assert "does not fit" not in _words(draw(small, small, 0.0))


def test_without_a_plan_what_is_taken_is_what_is_alive() -> None:
    source = read(mobilenet_v2(32))
    scratch = measure_scratch(source).sizes
    taken = occupied(source)
    assert len(taken) == len(source.model.subgraphs[0].operators)
    assert max(taken) == head_load(source.model, scratch).load_bytes
    assert max(taken) <= greedy_head(source.model, scratch)


def test_both_sides_are_executed() -> None:
    before, after = sides(32, ["tiling@CONV_2D_2:2x8,8"])
    assert max(after.occupied) <= after.head_bytes < after.required_bytes
    assert max(before.occupied) <= before.head_bytes < before.required_bytes
    assert len(after.occupied) > len(before.occupied)
