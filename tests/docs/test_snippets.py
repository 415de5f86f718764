"""Snippets that are no commands: what they name is there."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, cast

import yaml

from lowtide.devices import load_device
from tests.docs.examples import ROOT, blocks_of


def snippets(page: str, language: str) -> list[str]:
    return [block.text for block in blocks_of(page) if block.language == language]


def loaded(text: str) -> Any:
    return yaml.safe_load(text)


def test_a_board(tmp_path: Path) -> None:
    (text,) = snippets("docs/guides/tflite-micro.md", "yaml")
    path = tmp_path / "board.yaml"
    path.write_text(text)
    device = load_device(str(path))
    assert device.available_bytes == 224 << 10
    assert device.kernels == "cmsis-nn"


def test_the_action_and_the_hook() -> None:
    workflow, config = (loaded(text) for text in snippets("docs/guides/ci.md", "yaml"))
    inputs = loaded((ROOT / "action.yml").read_text())["inputs"]
    used = workflow["jobs"]["memory"]["steps"][-1]["with"]
    assert used.keys() <= inputs.keys()
    text = (ROOT / "docs" / "guides" / "ci.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in inputs)
    (hook,) = loaded((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert config["repos"][0]["hooks"][0]["id"] == hook["id"]


def test_entry_points() -> None:
    (text,) = snippets("docs/guides/plugins.md", "toml")
    example = tomllib.loads((ROOT / "examples" / "plugin" / "pyproject.toml").read_text())
    groups = cast("dict[str, object]", tomllib.loads(text)["project"]["entry-points"])
    assert groups.keys() == example["project"]["entry-points"].keys()


def test_the_header() -> None:
    """The C++ of the guide is what the header's own documentation shows."""
    from lowtide.backends.c import tflite_header

    (text,) = snippets("docs/guides/tflite-micro.md", "cpp")
    shown = tflite_header.__doc__ or ""
    for line in text.replace("MODEL_", "NAME_").replace("model_", "name_").splitlines():
        statement = line.partition("//")[0].partition(" != 0)")[0].strip()
        assert statement.replace("model.h", "NAME.h").replace("name_model)", "name_model)") in shown
