"""Pictures from the command line: files written whole or not at all, never over what is read."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import helper

import lowtide
from lowtide.bench.networks import randwire
from lowtide.cli import main, optimize_main
from lowtide.errors import InputError
from lowtide.live import Progress
from lowtide.pictures import exports
from tests.cli.commands import call

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small branching network."""
    path = tmp_path_factory.mktemp("drawn") / "net.onnx"
    onnx.save(randwire(5, nodes=16, channels=8, side=16), path)
    return path


@pytest.fixture(scope="module")
def plan(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its plan."""
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    lowtide.optimize(model, target="onnx", plan_out=path, verify=False)
    return path


def test_optimize_writes_page_picture_and_trace(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"net.{ending}" for ending in ("html", "svg", "json", "pickle")]
    options = ("html", "svg", "trace", "snapshot")
    code, out, err = call(
        optimize_main,
        model,
        "--target=onnx",
        "--json",
        "-o",
        tmp_path / "out.onnx",
        *(f"--{name}={path}" for name, path in zip(options, files, strict=True)),
        capsys=capsys,
    )
    assert (code, err) == (0, "")
    page, picture, trace = (path.read_text() for path in files[:3])
    report = json.loads(out)
    assert f"{report['peak_bytes']['after']:,} bytes" in page
    assert "Measured in ONNX Runtime" in page
    assert picture.startswith("<svg")
    assert (
        json.loads(trace)["otherData"]["lower_bound_bytes"] == report["peak_bytes"]["lower_bound"]
    )
    snapshot = pickle.loads(files[3].read_bytes())
    assert snapshot["segments"][0]["total_size"] == report["arena_bytes"]["after"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "out.onnx",
        *(path.name for path in files),
    }


def test_analyze_draws_also_where_a_budget_is_not_met(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    passes = "--pipeline=inplace,schedule,allocate"
    given = (model, "--target=onnx", "--budget=1KiB", passes)
    code, _, err = call(main, "analyze", *given, "--html", page, capsys=capsys)
    assert code == 3
    assert "budget" in err
    assert "budget not met" in page.read_text()


@pytest.mark.parametrize("option", ["html", "svg", "trace", "snapshot"])
def test_the_model_is_never_written_over(
    option: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    link = tmp_path / "link.onnx"
    link.symlink_to(model)
    for place in (model, link):
        code, _, err = call(
            main, "analyze", model, "--target=onnx", f"--{option}", place, capsys=capsys
        )
        assert code == 2
        assert "never written to" in err
    assert model.read_bytes() == before
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--html=FOLDER/out.onnx", "-o", "FOLDER/out.onnx"), "written already"),
        (("--html=FOLDER/a.html", "--svg=FOLDER/a.html"), "written already"),
        (("--svg=FOLDER/plan.json", "--plan-out=FOLDER/plan.json"), "written already"),
        (("--costs=FOLDER/costs.json", "--trace=FOLDER/costs.json"), "read or written already"),
        (("--costs=FOLDER/costs.json", "--plan-out=FOLDER/costs.json"), "already, as --costs"),
        (("-o", "FOLDER/a", "--plan-out=FOLDER/a"), "already, as -o"),
        (("--html=/proc/page.html",), "cannot write /proc/page.html"),
        (("--html=FOLDER/missing/a.html",), "does not exist"),
        (("--html=FOLDER",), "is a folder"),
        (("-o", "FOLDER/out.tflite"), "the target onnx writes no .tflite"),
        (("--budget=1.5",), "no whole number of bytes: write it with a unit"),
        (("--dim", "batch=0"), "a dimension is at least 1"),
    ],
)
def test_refused_before_any_work(
    arguments: tuple[str, ...],
    said: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "costs.json").write_text('{"schema": "lowtide.costs/1"}')
    given = [argument.replace("FOLDER", str(tmp_path)) for argument in arguments]
    output = [] if "-o" in given else ["-o", str(tmp_path / "o.onnx")]
    code, _, err = call(optimize_main, model, "--target=onnx", *given, *output, capsys=capsys)
    assert code == 2
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["costs.json"]


def test_external_data_is_never_written_over(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, data = tmp_path / "m.onnx", tmp_path / "m.bin"
    onnx.save(
        onnx.load(model), source, save_as_external_data=True, location=data.name, size_threshold=0
    )
    before = data.read_bytes()
    for option in ("--svg", "--plan-out"):
        code, _, err = call(
            main, "optimize", source, "--target=onnx", f"{option}={data}", capsys=capsys
        )
        assert code == 2
        assert f"already, as external data {data}" in err
    assert data.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.onnx"]


def test_a_picture_that_fails_leaves_no_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise InputError("no space left")

    monkeypatch.setattr(exports, "export", fail)
    with pytest.raises(InputError, match="no space left"):
        lowtide.optimize(
            model,
            target="onnx",
            output=tmp_path / "o.onnx",
            plan_out=tmp_path / "p.json",
            svg=tmp_path / "s.svg",
            verify=False,
        )
    assert not list(tmp_path.iterdir())


def _no_package(name: str) -> None:
    del name


def test_a_png_without_the_extra_is_refused_before_any_work(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lowtide.pictures.png.find_spec", _no_package)
    code, _, err = call(
        main, "analyze", model, "--png", tmp_path / "a.png", "--html", tmp_path / "a.html",
        capsys=capsys,
    )  # fmt: skip
    assert code == 2
    assert "lowtide[png]" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["html", "svg", "json", "pickle"])
def test_plot(
    ending: str, model: Path, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / f"one.{ending}", tmp_path / f"two.{ending}"
    for path in (one, two):
        code, out, err = call(main, "plot", plan, model, "-o", path, capsys=capsys)
        assert (code, err) == (0, "")
        assert "peak" in out
    if ending != "html":  # a page tells how long it took
        assert one.read_bytes() == two.read_bytes()


def test_plot_refuses_what_does_not_belong_together(
    model: Path, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.onnx"
    onnx.save(randwire(6, nodes=8, channels=8, side=8), other)
    picture = tmp_path / "a.svg"
    code, _, err = call(main, "plot", plan, other, "-o", picture, capsys=capsys)
    assert code == 2
    assert "was made for the model with SHA-256" in err
    code, _, err = call(main, "plot", plan, model, "-o", tmp_path / "a.pdf", capsys=capsys)
    assert code == 2
    assert ".svg" in err
    before = plan.read_bytes()
    code, _, err = call(main, "plot", plan, model, "-o", plan, capsys=capsys)
    assert code == 2
    assert plan.read_bytes() == before
    assert not picture.exists()


def test_diff_of_a_model_and_its_plan(
    model: Path, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "both.svg"
    code, out, err = call(main, "diff", model, plan, "--json", "--svg", picture, capsys=capsys)
    assert (code, err) == (0, "")
    found = json.loads(out)
    made = json.loads(plan.read_text())
    assert found["b"]["peak_bytes"] == made["certificate"]["peak_bytes"]
    assert found["a"]["peak_bytes"] > found["b"]["peak_bytes"]
    assert sum(each["bytes"] for each in found["b"]["at_peak"]) == found["b"]["peak_bytes"]
    assert (found["ops_added"], found["ops_removed"]) == ([], [])
    assert 0 < found["pairs_inverted"] < found["pairs"]
    assert picture.read_text().startswith("<svg")
    code, out, _ = call(main, "diff", model, plan, capsys=capsys)
    assert code == 0
    assert "turned round" in out


def test_diff_of_models_and_of_plans(
    model: Path, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.onnx"
    onnx.save(randwire(6, nodes=8, channels=8, side=16), other)
    code, out, _ = call(main, "diff", model, other, "--target=onnx", "--json", capsys=capsys)
    found = json.loads(out)
    assert code == 0
    assert found["a"]["ops"] - len(found["ops_removed"]) == found["ops_common"]
    code, out, _ = call(main, "diff", plan, plan, capsys=capsys)
    assert code == 0
    assert "order: the same" in out
    code, _, err = call(main, "diff", plan, plan, "--svg", tmp_path / "a.svg", capsys=capsys)
    assert code == 2
    assert "--model" in err
    code, _, _ = call(
        main, "diff", plan, plan, "--model", model, "--svg", tmp_path / "a.svg", capsys=capsys
    )
    assert code == 0
    code, _, err = call(main, "diff", plan, plan, "--model", other, capsys=capsys)
    assert code == 2
    assert "neither plan" in err
    code, _, err = call(main, "diff", model, plan, "--svg", plan, capsys=capsys)
    assert code == 2
    assert json.loads(plan.read_text())


def test_names_do_not_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "x\x1b]0;title\x07:on:[bold]\u202ey"
    tensors = [helper.make_tensor_value_info(name, 1, [64]) for name in ("a", evil)]
    nodes = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Neg", ["b"], [evil], evil)]
    folder = tmp_path / ("long" * 40)  # in a line of its own, it is not broken
    folder.mkdir()
    path, other = folder / "m:on:.onnx", tmp_path / "other.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", tensors[:1], tensors[1:])), path)
    onnx.save(randwire(6, nodes=8, channels=8, side=8), other)
    shown = "x\ufffd]0;title\ufffd:on:[bold]\ufffdy"
    for command in (("analyze", path), ("diff", other, path), ("fits", path, "--budget=1")):
        _, out, err = call(main, *command, "--target=onnx", capsys=capsys)
        assert shown in out + err
        assert str(path) in out + err or path.name in out + err
        assert not {"\x1b", "\x07", "\u202e"} & {*out, *err}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arena_bytes": 1}, "states an arena of 1 bytes, and its layout takes"),
        ({"arena_bytes": 10**400}, "beyond 2^60"),
        ({"arena_bytes": None}, "states an arena of None bytes"),
        ({"offsets": 0}, "overlap at offset 0"),
        ({"offsets": -64}, "negative"),
        ({"sequence": ["\ud800"]}, "half a character"),
    ],
)
def test_a_plan_that_was_changed_is_refused(
    change: dict[str, object],
    said: str,
    model: Path,
    plan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = json.loads(plan.read_text())
    if isinstance(change.get("offsets"), int):
        change = {"offsets": dict.fromkeys(document["offsets"], change["offsets"])}
    damaged, picture = tmp_path / "damaged.json", tmp_path / "a.svg"
    damaged.write_text(json.dumps({**document, **change}))
    for command in (("plot", damaged, model, "-o", picture), ("diff", model, damaged)):
        code, out, err = call(main, *command, capsys=capsys)
        assert (code, out) == (2, "")
        assert said in err
    assert not picture.exists()


def test_a_result_draws_itself(model: Path, tmp_path: Path) -> None:
    result = lowtide.optimize(model, target="onnx", verify=False)
    page = result.draw(tmp_path / "page.html").read_text()
    assert "How the solvers got there" in page
    with pytest.raises(InputError, match="ends in"):
        result.draw(tmp_path / "page.pdf")
    named = tmp_path / "model.svg"
    named.symlink_to(model)
    with pytest.raises(InputError, match="never written to"):
        result.draw(named)


def test_the_live_line_says_the_gap() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    progress.stage("plan")
    progress.bounds(None, 50)
    progress.bounds(200, 50)
    progress.bounds(50, 50)
    assert lines[1] == "plan: best -, lower bound 50 B"
    assert lines[2].endswith("gap 75.0 %")
    assert lines[3].endswith("gap 0.0 %")
    progress.costs(None, 100.0, 100.0)
    progress.costs(120.0, 105.0, 100.0)
    assert lines[4] == "plan: best overhead -, lower bound 0.000 %"
    assert lines[5].endswith("best overhead 20.000 %, lower bound 5.000 %, gap 15.000 points")
