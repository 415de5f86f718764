"""What is read is never written over, and files appear together or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lowtide import outputs
from lowtide.errors import InputError
from lowtide.outputs import SOURCE, Pending, refuse


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"model")
    (tmp_path / "costs.json").write_bytes(b"{}")
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"pb")
    (tmp_path / "link").symlink_to("saved")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "writes", "said"),
    [
        ("m.onnx", {"-o": "m.onnx"}, "m.onnx is the source, which is never written to"),
        ("m.onnx", {"-o": "saved/../m.onnx"}, "is the source"),
        ("saved", {"--svg": "saved/saved_model.pb"}, "inside the source, which is never written"),
        ("saved", {"--svg": "link/variables/x.svg"}, "inside the source"),
        ("m.onnx", {"--plan-out": "costs.json"}, "read or written already, as --costs"),
        ("m.onnx", {"-o": "x", "--plan-out": "./x"}, "--plan-out x is read or written already"),
        ("m.onnx", {"folder": "out", "--svg": "out/x.svg"}, "--svg out/x.svg is inside folder"),
        ("saved/saved_model.pb", {"folder": "saved"}, "saved is a folder that the source is in"),
        ("m.onnx", {"-o": "saved"}, "saved is a folder: name a file"),
        ("m.onnx", {"-o": "missing/x"}, "the folder missing does not exist: create it first"),
        ("m.onnx", {"-o": "costs.json/x"}, "costs.json/x is inside --costs"),
        ("saved", {"-o": "m.onnx/x"}, "m.onnx is no folder"),
        ("m.onnx", {"-o": "/proc/x.svg"}, "cannot write /proc/x.svg: nothing can be made"),
    ],
)
def test_what_is_refused(source: str, writes: dict[str, str], said: str, here: Path) -> None:
    before = sorted(here.rglob("*"))
    with pytest.raises(InputError) as raised:
        refuse(
            {SOURCE: source, "--costs": Path("costs.json")},
            {name: Path(path) for name, path in writes.items()},
            folders={"folder"},
        )
    assert said in str(raised.value)
    assert sorted(here.rglob("*")) == before


@pytest.mark.usefixtures("here")
def test_what_is_allowed() -> None:
    reads = {SOURCE: object(), "--device": "nano33", "--costs": "measure"}
    writes = {"-o": Path("saved"), "--svg": Path("saved.svg"), "--plan-out": None}
    refuse(reads, writes, folders={"-o"})
    refuse({SOURCE: "m.onnx"}, {"-o": Path("costs.json")})  # an earlier result
    refuse({}, {"--svg": Path("measure"), "-o": Path("nano33")})


def test_files_appear_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"old")
    with Pending() as files:
        files.add(one, b"1")
        files.add(two, b"2")
        assert (one.read_bytes(), two.exists()) == (b"old", False)
        files.commit()
        assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    with Pending() as files:  # left without a commit
        files.add(one, b"new")
        with pytest.raises(InputError, match="cannot write"):
            files.add(tmp_path / "missing" / "x", b"new")
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_a_disk_that_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs.write_text(tmp_path / "x", "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot write .*: No space left on device"):
        outputs.write_text(tmp_path / "x", "new")
    monkeypatch.undo()
    assert (tmp_path / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]
