"""The command `lowtide devices`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lowtide.cli import main
from lowtide.devices import available


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["devices", *arguments])
    out, err = capsys.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["name", "SRAM", "flash", "memories", "kernels"]
    assert [line.split()[0] for line in lines[1:]] == list(available())
    assert "DTCM 128 KiB, AXI_SRAM 512 KiB, SRAM1 128 KiB" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--json")
    content = json.loads(out)
    assert (code, content["schema"]) == (0, "lowtide.devices/1")
    assert [device["name"] for device in content["devices"]] == list(available())
    code, out, _ = call(capsys, "rp2040", "--json")
    (device,) = json.loads(out)["devices"]
    assert device["memories"][0]["available_bytes"] == 270336
    assert device["sram_bytes"] == 270336


def test_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "esp32-s3-psram")
    assert code == 0
    assert "memory: SRAM (sram) 512 KiB, 192 KiB reserved\n" in out
    assert "memory: PSRAM (psram) 8 MiB\n" in out
    assert "source: https://" in out


def test_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, "esp32")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no device `esp32`")
    path = tmp_path / "board.yaml"
    path.write_text("schema: lowtide.device/1\nname: x\nflash: 12 apples\n")
    code, _, err = call(capsys, str(path))
    assert code == 2
    assert err == f"error: {path}: memories is missing: add it\n"
