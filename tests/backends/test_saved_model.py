"""SavedModels from end to end: planned, written, loaded again, compared, measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import lowtide
from lowtide import optimizer
from lowtide.cli import app
from lowtide.errors import InputError, ModelError

pytestmark = pytest.mark.tensorflow
pytest.importorskip("tensorflow", exc_type=ImportError)

SCRIPT = Path(__file__).with_name("saved_models.py")


def run(what: str, *arguments: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), what, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    run("make", folder)
    return folder


def test_a_signature_is_reordered_and_the_rest_is_kept(models: Path) -> None:
    source, plan = str(models / "branches"), str(models / "plan.json")
    command = ["optimize", "--peak-mem", source, "--dim", "*=16", "--json", "--plan-out", plan]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    written = models / "branches.lowtide.savedmodel"
    assert report["output"] == str(written)
    peak, measured = report["peak_bytes"], report["measured"]
    assert peak["after"] < 0.6 * peak["before"]
    assert measured["peak_after"] == pytest.approx(peak["after"], rel=0.01)
    assert measured["peak_after"] <= measured["peak_before"]
    assert report["verification"]["numerics"] in ("identical", "close")
    assert report["verification"]["order"] == "executed"
    assert run("compare", models / "branches", written) == {
        "close": True,
        "calls": 2,
        "signature": True,
    }

    again = optimizer.apply(
        models / "plan.json", models / "branches", output=models / "again", verify=False
    )
    assert again.report.peak_bytes.after == peak["after"]
    assert (models / "again" / "saved_model.pb").is_file()


def test_tables_are_planned_around_and_kept(models: Path, tmp_path: Path) -> None:
    copy = tmp_path / "words"
    shutil.copytree(models / "words", copy)
    result = lowtide.optimize(copy, output=tmp_path / "planned", dims={"*": 16})
    assert result.report.peak_bytes.after < 0.6 * result.report.peak_bytes.before
    shutil.rmtree(copy)  # the tables are the result's own
    found = run("look_up", models / "words", tmp_path / "planned")
    assert found["close"]
    assert found["names"]
    assert found["apart"] == 5


def test_open_dimensions_are_named(models: Path) -> None:
    with pytest.raises(InputError, match=r"`x` \[\?, 64\].*--dim"):
        lowtide.analyze(models / "branches")
    with pytest.raises(InputError, match="no such input; the signature has scale, x"):
        lowtide.analyze(models / "branches", dims={"y": 2})


def test_other_targets_say_what_reads_it(models: Path) -> None:
    with pytest.raises(InputError, match="does not read SavedModel models"):
        lowtide.analyze(models / "branches", target="onnxruntime")


def test_a_model_that_reaches_outside_is_refused(models: Path) -> None:
    with pytest.raises(ModelError, match=r"WriteFile.*reaches outside"):
        lowtide.analyze(models / "outside")
    assert not (models / "victim").exists()


@pytest.mark.parametrize("damage", ["cut", "noise", "no_variables"])
def test_damaged_models_are_refused(models: Path, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(models / "branches", copy)
    graph = copy / "saved_model.pb"
    data = graph.read_bytes()
    if damage == "cut":
        graph.write_bytes(data[: len(data) // 2])
    elif damage == "noise":
        graph.write_bytes(bytes(255 - b if i % 97 == 5 else b for i, b in enumerate(data)))
    else:
        shutil.rmtree(copy / "variables")
    with pytest.raises(ModelError):
        lowtide.analyze(copy, dims={"*": 1})


def test_a_loaded_signature_can_be_planned(models: Path) -> None:
    found = run("rematerialized", models / "branches")
    assert found["close"]
    assert found["after"] < 0.61 * found["before"]
