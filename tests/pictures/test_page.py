"""The page: whole HTML, small, nothing from elsewhere, and no name that becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lowtide.pictures.compact import page_data
from lowtide.pictures.names import Clipper, clipped, plain, safe, script_json
from lowtide.pictures.page import render_page
from lowtide.report import Figures
from tests.pictures.scenes import network, scene_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.pictures.scene import Scene
    from lowtide.planning import Planned

_VOID = {"meta", "input", "link", "br", "img", "hr"}
_HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>alert(2)//",
    "\"'><svg onload=alert(3)>",
    "{{data}}{{script}}",
    "https://evil.example/\u202egpj.exe\ud800\x00\u2028\u2029",
    "&lt;b&gt;",
)


class _Parsed(HTMLParser):
    """Elements and attributes, and whether every element is closed in its turn."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _data(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return cast("dict[str, object]", json.loads(found[1]))


def _decoded(rows: list[str]) -> list[str]:
    """The names as the page's script reads them."""
    found: list[str] = []
    for row in rows:
        found.append((found[-1] if found else "")[: int(row[:2], 36)] + row[2:])
    return found


def _sums(values: list[int]) -> list[int]:
    total = 0
    return [total := total + value for value in values]


def test_the_page_is_whole_and_loads_nothing(repeated: tuple[Planned, Scene]) -> None:
    page = render_page(repeated[1])
    parsed = _Parsed(page)
    assert parsed.open == []
    assert "http:" not in page
    assert "https:" not in page
    assert "{{" not in page
    assert not {tag for tag, _ in parsed.elements} & {"link", "img", "iframe", "object", "base"}
    for _, attributes in parsed.elements:
        assert not {"src", "href", "style", "xlink:href", "action"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    identities = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(set(identities)) == len(identities)
    for _, attributes in parsed.elements:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            if name in attributes:
                assert attributes[name] in identities
    for drawing in parsed.of("svg"):
        assert (
            drawing.get("aria-hidden") == "true"
            or drawing.get("role") == "img"
            or ("viewbox" in drawing)
        )
    assert len(page.encode()) < 150_000


def test_the_policy_allows_only_this_style_and_this_script(
    planned: tuple[Planned, Scene],
) -> None:
    page = render_page(planned[1])
    meta = next(m for m in _Parsed(page).of("meta") if "http-equiv" in m)
    policy = meta["content"] or ""
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        body = page.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_data_is_the_timeline(repeated: tuple[Planned, Scene]) -> None:
    made, scene = repeated
    content = _data(render_page(scene))
    runs = cast("list[dict[str, list[int]]]", content["runs"])
    ops = _decoded(cast("list[str]", content["ops"]))
    for run, timeline in zip(runs, (made.prepared.source_order, made.timeline), strict=True):
        live = _sums(run["live"])
        assert live == [step.live_bytes for step in timeline.steps]
        assert [ops[i] for i in run["ops"]] == [step.op.name for step in timeline.steps]
        assert cast("dict[str, object]", run)["peak"] == timeline.peak_bytes
        starts = _sums(run["start"])
        for index, total in enumerate(live):
            blocks = zip(starts, run["length"], run["bytes"], strict=True)
            assert total == sum(n for start, span, n in blocks if start <= index < start + span)
    again = runs[1]["again"]
    assert again == [i for i, moment in enumerate(scene.after.moments) if moment.again]


def test_the_script_reads_all_data(planned: tuple[Planned, Scene]) -> None:
    script = files("lowtide.pictures").joinpath("page.js").read_text(encoding="utf-8")
    content = _data(render_page(planned[1]))
    (run, _) = cast("list[dict[str, object]]", content.pop("runs"))
    for key in content:
        assert re.search(rf"\bdata\.{key}\b", script), key
    for key in run:
        assert re.search(rf"\brun\.{key}\b", script), key


def test_the_table_of_steps_has_all_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_of(network(60, "op{}".format))
    workspace = [moment.workspace_bytes for moment in scene.after.moments]
    assert any(workspace)
    monkeypatch.setattr("lowtide.pictures.compact.MOST_BLOCKS", 20)
    content = _data(render_page(scene))
    runs = cast("list[dict[str, list[int]]]", content["runs"])
    assert len(runs[1]["bytes"]) == 20  # most blocks with workspace are left out
    assert _sums(cast("list[int]", content["workspace"])) == workspace


def test_names_of_all_kinds_survive_the_coding() -> None:
    names = ["a/b/1", "a/b/1", "a/b/22", "\U0001f600x", "\U0001f600y", "a" * 390, "a" * 389, "ü"]
    scene = scene_of(network(len(names), lambda i: f"{names[i]}#{i}"))
    content = json.loads(page_data(scene))
    expected = [f"{name}#{i}" for i, name in enumerate(names)]
    assert _decoded(content["ops"]) == expected
    for row in content["ops"]:  # prefixes are counted in the script's UTF-16
        assert "\U0001f600" not in expected[0][: int(row[:2], 36)]
    assert _decoded(content["tensors"]) == [f"{name}:0" for name in expected]


def test_hostile_names_stay_text() -> None:
    def name(index: int) -> str:
        return f"{_HOSTILE[index % len(_HOSTILE)]} {index}"

    scene = scene_of(network(24, name), path=f"{_HOSTILE[0]}.onnx")
    note = replace(scene.report, notes=_HOSTILE, versions=dict.fromkeys(_HOSTILE, "<i>"))
    page = render_page(replace(scene, report=note))
    page.encode()
    parsed = _Parsed(page)
    assert parsed.open == []
    harmless = _Parsed(render_page(scene_of(network(24, "op{}".format))))
    extra = {tag for tag, _ in parsed.elements} - {tag for tag, _ in harmless.elements}
    assert extra <= {"li", "ul"}  # of the notes
    assert len(parsed.of("script")) == 2
    assert all(not any(key.startswith("on") for key in each) for _, each in parsed.elements)
    text = page.split('id="data">')[1].split("</script>")[0]
    assert not set("<>&") & set(text)
    assert not {chr(0x2028), chr(0x2029)} & set(text)
    names = _decoded(cast("list[str]", _data(page)["ops"]))
    assert names[0] == name(0)  # nothing is lost for the reader
    assert "\u202e" not in page


def _noise(index: int, first: int, count: int, length: int) -> str:
    """Characters that look random, from `first` on, with nothing in common between two of them."""
    return "".join(chr(first + (index * 7919 + k * k * 31) % count) for k in range(length))


_LONG_NAMES: dict[str, Callable[[int], str]] = {
    "shared": "StatefulPartitionedCall/model/block/{}".format,
    "noise": lambda i: f"Call/{hashlib.sha256(str(i).encode()).hexdigest() * 2}/{i}",
    "cjk": lambda i: f"{_noise(i, 0x4E00, 20_000, 60)}{i}",
    "emoji": lambda i: f"{_noise(i, 0x1F300, 500, 60)}{i}",
    "markup": lambda i: f"{'<>&' * 30}{i}",
    "quotes": lambda i: f"{_noise(i, 32, 4, 90)}{i}",
    "separators": lambda i: chr(0x2028) * 99 + str(i),
    "bad": lambda i: f"{_noise(i, 0xD800, 2000, 90)}{i}",
}


def test_names_written_from_right_to_left_move_nothing_around_them() -> None:
    page = render_page(scene_of(network(12, lambda i: f"\u05d0\u05d1 {i}", kind="\u05d2{}".format)))
    style = page.split("<style>")[1].split("</style>")[0]
    rule = re.search(r"^([^{}]*)\{[^{}]*unicode-bidi: isolate;[^{}]*\}", style, re.M)
    assert rule is not None
    isolated = {each.strip() for each in rule[1].split(",")}
    assert isolated >= {"code", "bdi", "h1", "h3", "th.name", "#tensors b"}
    body = page.split("</style>")[1].split('<script type="application/json"')[0]
    assert body.count("\u05d0") > 10
    for before, after in re.findall(r"(.)\u05d0\u05d1 \d+(?::0)?(.)", body):
        # An element of its own (of those above, or text of a drawing), or marks of isolation.
        assert (before, after) in {(">", "<"), ("\u2066", "\u2069")}


@pytest.mark.parametrize("names", _LONG_NAMES)
def test_three_thousand_ops_take_less_than_a_megabyte(names: str) -> None:
    scene = scene_of(network(3000, _LONG_NAMES[names]))
    page = render_page(scene)
    assert len(page.encode()) < 1_000_000
    found = _decoded(cast("list[str]", _data(page)["ops"]))
    assert len(found) == 3000
    assert len(set(found)) > 2900 or names == "bad"


@pytest.mark.parametrize("first", [0x61, 0x1F300])
def test_everything_different_and_large_takes_less_than_a_megabyte(first: int) -> None:
    def text(index: int) -> str:
        return f"{_noise(index, first, 500, 310)}{index}"

    scene = scene_of(network(3000, text, kind=text, channels=1 << 18))
    page = render_page(scene)
    assert len(page.encode()) < 1_000_000
    kinds = cast("list[str]", _data(page)["kinds"])
    assert len(kinds) == 3000
    assert all(len(kind.encode()) <= 80 for kind in kinds)
    # Where the page is drawn, the type of an op is not longer.
    assert max(map(len, re.findall(r"<title>(.*?)</title>", page))) < 600


def test_types_of_ops_are_as_long_as_there_is_room() -> None:
    def kind(index: int) -> str:
        return f"Op{index}{'x' * 300}"

    for ops in (40, 3000):
        kinds = cast(
            "list[str]", _data(render_page(scene_of(network(ops, str, kind=kind))))["kinds"]
        )
        assert len(set(kinds)) == ops
        assert {len(text) for text in kinds} == {80}


def test_on_a_page_without_room_short_texts_are_whole() -> None:
    scene = scene_of(
        network(30, str, kind=lambda i: f"LayerNormalization{i % 9}", channels=1 << 30)
    )
    content = json.loads(page_data(scene, 2_000_000))
    assert content["kinds"] == [f"onnx.LayerNormalization{i}" for i in range(9)]
    assert {kind for block in scene.after.blocks for kind in block.types} - {""} == set(
        content["types"]
    )
    assert _decoded(content["ops"]) == [str(i) for i in range(30)]


def test_the_same_scene_is_the_same_page(planned: tuple[Planned, Scene]) -> None:
    assert render_page(planned[1]) == render_page(planned[1])


def test_the_words_say_what_the_report_says(planned: tuple[Planned, Scene]) -> None:
    scene = planned[1]
    peak = scene.report.peak_bytes
    page = render_page(scene)
    assert f"{peak.before:,} bytes at step" in page
    assert f"{peak.after:,} bytes at step" in page
    assert f"The lower bound is {peak.lower_bound:,} bytes." in page
    for live in scene.report.peak_ops[0].live:
        assert f"{live.bytes:,}" in page
    assert "How the solvers got there" in page


def test_a_budget_that_is_not_met_is_said() -> None:
    scene = scene_of(network(10, "op{}".format))
    needed = scene.report.peak_bytes.after
    budget = {"needed": needed, "available": 100, "excess": needed - 100, "fits_at": needed}
    report = replace(scene.report, budget_bytes=100, budget=budget)
    page = render_page(replace(scene, report=report, budget_bytes=100))
    assert "budget not met" in page
    assert "100 B" in page


def test_a_graph_without_ops_has_a_page() -> None:
    scene = scene_of(network(1, "op{}".format))
    empty = replace(scene.after, moments=(), blocks=(), peak_bytes=0, peak_step=0, arena_bytes=None)
    figures = Figures(0, 0, 0)
    report = replace(scene.report, peak_bytes=figures, arena_bytes=figures)
    page = render_page(replace(scene, before=empty, after=empty, hot=None, report=report))
    assert _Parsed(page).open == []


def test_text() -> None:
    assert clipped("abcdefgh", 8) == "abcdefgh"
    assert clipped("abcdefghi", 8) == "abc…fghi"
    assert plain("a\x00b\ud800c\u202ed\ufffee") == "a�b�c�d�e"
    assert plain("a\u200eb\u200fc\u061cd\u2067e") == "a�b�c�d�e"
    assert (
        plain("\u05d0\u0628 \u200d\u6f22\U0001f600\t\n")
        == "\u05d0\u0628 \u200d\u6f22\U0001f600\t\n"
    )
    assert safe('<a href="x">\'&') == "&lt;a href=&quot;x&quot;&gt;&#x27;&amp;"


@given(
    names=st.lists(st.text(st.characters(exclude_categories=()), max_size=60), max_size=12),
    each=st.integers(17, 80),
)
@example(names=["\U0001f600" * 60, "<" * 60, "\u2028" * 60, '"' * 60, "\ud800" * 60], each=17)
def test_names_fit(names: list[str], each: int) -> None:
    total = each * max(len(names), 1)
    clip = Clipper.fitting(names, total)
    written = [clip(name) for name in names]
    assert len(script_json([f"00{text}" for text in written]).encode()) <= total + 2
    for name, text in zip(names, written, strict=True):
        head, cut, tail = text.partition("…")
        assert plain(name).startswith(head)
        assert not cut or plain(name).endswith(tail)
    if any(plain(name) != text for name, text in zip(names, written, strict=True)):
        # The next longer one would not fit, but for what is lost at the cut and by rounding.
        assert sum(len(script_json(clip(n)).encode()) + 3 for n in names) > total - 13 * len(names)


def test_names_that_fit_are_whole() -> None:
    assert Clipper.fitting(["short"], 5000)("short") == "short"
    names = ["a" * 399, "b" * 10, "漢" * 100]
    assert [Clipper.fitting(names, 724)(name) for name in names] == names
    assert Clipper.fitting(names, 723)(names[0]) == f"{'a' * 197}…{'a' * 198}"
    assert Clipper.fitting(["a" * 500], 5000)("a" * 500) == f"{'a' * 199}…{'a' * 200}"
