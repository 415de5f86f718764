"""C output of TFLite models: compiled with every warning, linked, run and read back."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.backends import atomic
from lowtide.backends.c import Arena, emit, write
from lowtide.backends.c.identifier import comment, identifier, literal
from lowtide.backends.c.tflite_ops import BUILTIN_CALLS, CUSTOM_CALLS
from lowtide.errors import InputError, ModelError
from lowtide.frontends.tflite import read
from lowtide.frontends.tflite.operators import BUILTINS, CUSTOM
from tests.backends.c.tflite_bytes import tflite_bytes

ARENA = Arena(1000, "measured", "reference kernels")
GCC, GXX = shutil.which("gcc"), shutil.which("g++")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")

# What the header's templates need of TFLM: a resolver and an interpreter, as far as they call them.
STAND_IN = """\
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
struct Resolver {
  int room = NET_OP_COUNT;
  const char* custom = "";
  TfLiteStatus take() { return --room < 0 ? kTfLiteError : kTfLiteOk; }
  TfLiteStatus AddRelu() { return take(); }
  TfLiteStatus AddAdd() { return take(); }
  TfLiteStatus AddConv2D() { return take(); }
  TfLiteStatus AddDetectionPostprocess() { return take(); }
  TfLiteStatus AddCustom(const char* name, const int* kernel) {
    custom = name;
    return kernel == nullptr ? kTfLiteError : take();
  }
};
struct Interpreter {
  TfLiteStatus status;
  size_t used;
  TfLiteStatus AllocateTensors() { return status; }
  size_t arena_used_bytes() const { return used; }
};
"""

MAIN = """\
int main() {
  Resolver resolver;
  Resolver small;
  small.room = NET_OP_COUNT - 1;
  Interpreter fits{kTfLiteOk, NET_ARENA_BYTES};
  Interpreter fails{kTfLiteError, 0};
  Interpreter larger{kTfLiteOk, NET_ARENA_BYTES + 1};
  const bool all = ADD(resolver);
  const bool some = ADD(small);
  std::printf("%d %d %d %d %d %d\\n", all, resolver.room, some,
              net_allocate(fits), net_allocate(fails), net_allocate(larger));
  std::printf("%s\\n", resolver.custom);
  const void* place = net_model;
  std::printf("%d\\n", static_cast<int>(reinterpret_cast<uintptr_t>(place) % 16));
  std::printf("%d %d\\n", NET_INPUT0_ZERO_POINT, static_cast<int>(sizeof(NET_OUTPUT0_TYPE)));
#define KIND(kind, custom) std::printf("%s:%d ", kind, custom);
  NET_OPS(KIND)
  std::printf("\\n%.9g\\n", static_cast<double>(NET_INPUT0_SCALE));
  std::fwrite(net_model, 1, sizeof net_model, stderr);
  return 0;
}
"""


def compiled(folder: Path, main: str, *options: str) -> tuple[list[str], bytes]:
    """What a program with this main file prints, and the bytes that it writes to stderr."""
    assert GXX is not None
    (folder / "main.cc").write_text(main)
    command = [GXX, "-std=c++17", *WARNINGS, *options, "main.cc", "net_model.cc", "-o", "program"]
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run([folder / "program"], capture_output=True, check=True)
    return done.stdout.decode().splitlines(), done.stderr


def put(folder: Path, data: bytes, arena: Arena = ARENA) -> dict[str, bytes]:
    files = emit(read(data), "net", arena)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return files


def test_it_compiles_and_holds_the_model(tmp_path: Path) -> None:
    data = tflite_bytes(("RELU", "ADD", "RELU"))
    put(tmp_path, data)
    adds = "#define ADD(resolver) net_add_ops(resolver)\n"
    start = '#include <cstdio>\n#include "net.h"\n'
    out, model = compiled(tmp_path, start + STAND_IN + adds + MAIN)
    # Two kinds were added and filled the resolver; one that is smaller failed.
    assert out[0] == "1 0 0 0 1 2"
    assert out[2:4] == ["0", "-3 1"]
    assert out[4] == "RELU:0 ADD:0 "
    assert np.float32(out[5]) == np.float32(0.1)
    assert model == data


def test_custom_operators_are_flagged(tmp_path: Path) -> None:
    data = tflite_bytes(("RELU",), custom=("My-Op", 'a"\\\n*/b', "TFLite_Detection_PostProcess"))
    files = put(tmp_path, data)
    assert "CUSTOM OPERATORS whose kernels" in files["net.h"].decode()
    kernels = (
        "static const int kKernel = 1;\n"
        "struct Kernels {\n"
        "  static const int* register_my_op() { return &kKernel; }\n"
        "  static const int* register_a_b() { return &kKernel; }\n"
        "};\n"
        "#define ADD(resolver) net_add_ops<Kernels>(resolver)\n"
    )
    out, model = compiled(
        tmp_path, '#include <cstdio>\n#include "net.h"\n' + STAND_IN + kernels + MAIN
    )
    assert out[0].startswith("1 0 0 ")
    # The name is kept to the byte; it has a line break.
    assert "\n".join(out).split("\n", 1)[1].startswith('a"\\\n*/b\n0\n')
    assert model == data
    operators = json.loads(files["lowtide.json"])["operators"]
    assert [entry["call"] for entry in operators] == [
        "AddRelu",
        None,
        None,
        "AddDetectionPostprocess",
    ]


@pytest.mark.parametrize("standard", ["c99", "c17"])
def test_the_header_is_c_too(tmp_path: Path, standard: str) -> None:
    """By itself, included twice, with constants that a preprocessor can compare."""
    put(tmp_path, tflite_bytes())
    (tmp_path / "main.c").write_text(
        '#include "net.h"\n#include "net.h"\n'
        "#if NET_ARENA_BYTES != 1008 || NET_ARENA_ALIGNMENT != 16 || NET_OP_COUNT != 2\n"
        "#error\n#endif\n"
        "#if NET_INPUT0_BYTES != 4 || NET_OUTPUT0_DIM1 != 4 || !NET_ARENA_IS_MEASURED\n"
        "#error\n#endif\n"
        "NET_INPUT0_TYPE input[NET_INPUT0_ELEMENTS];\n"
        "int main(void) { return (int)sizeof net_model - NET_MODEL_BYTES; }\n"
    )
    assert GCC is not None
    assert GXX is not None
    for command in (
        [GCC, f"-std={standard}", *WARNINGS, "-c", "main.c"],
        [GXX, "-std=c++17", *WARNINGS, "-c", "net_model.cc"],
        [GXX, "main.o", "net_model.o", "-o", "program"],
        [str(tmp_path / "program")],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)


def test_the_section_is_the_users(tmp_path: Path) -> None:
    put(tmp_path, tflite_bytes())
    assert GXX is not None
    section = '-DNET_MODEL_SECTION=__attribute__((section(".flash_model")))'
    command = [GXX, "-std=c++17", *WARNINGS, section, "-c", "net_model.cc"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert b".flash_model" in (tmp_path / "net_model.o").read_bytes()


def test_an_estimate_is_called_one() -> None:
    arena = Arena(1024, "estimate", "formulas for CMSIS-NN")
    text = emit(read(tflite_bytes()), "net", arena)["net.h"].decode()
    assert "an estimate, not validated by execution: formulas for CMSIS-NN" in text
    assert "#define NET_ARENA_IS_MEASURED 0\n" in text
    assert "#define NET_ARENA_BYTES 1024\n" in text


def test_names_that_would_end_a_comment(tmp_path: Path) -> None:
    data = tflite_bytes(names=("*/ int x; /* \\", "a\nb??/"), quantized=False)
    arena = Arena(64, "estimate", "one\nline */ \\")
    files = put(tmp_path, data, arena)
    assert "SCALE" not in files["net.h"].decode()
    (tmp_path / "main.cc").write_text('#include "net.h"\nint main() { return 0; }\n')
    assert GXX is not None
    command = [GXX, "-std=c++17", "-trigraphs", *WARNINGS, "main.cc", "net_model.cc"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_deterministic() -> None:
    data = tflite_bytes()
    assert emit(read(data), "net", ARENA) == emit(read(bytes(data)), "net", ARENA)


def test_an_operator_without_a_kernel_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no kernel for ATAN2 \(operator 1 of subgraph 0\)"):
        emit(read(tflite_bytes(("RELU", "ATAN2"))), "net", ARENA)


def test_the_calls_are_those_of_the_runtime() -> None:
    """The stock runtime has a kernel for each operator; its symbols and strings say so."""
    spec = importlib.util.find_spec("tflite_micro")
    assert spec is not None
    assert spec.origin is not None
    runtime = next(Path(spec.origin).parent.rglob("_runtime.so")).read_bytes()
    assert set(BUILTIN_CALLS) <= set(BUILTINS) - {BUILTINS[CUSTOM]}
    assert BUILTINS[32] == "CUSTOM"
    assert [k for k in BUILTIN_CALLS if f"Register_{k}".encode() not in runtime] == []
    names = [name for name in CUSTOM_CALLS if name != "ethos-u"]
    assert [name for name in names if name.encode() not in runtime] == []
    assert BUILTIN_CALLS["RESIZE_NEAREST_NEIGHBOR"] == "AddResizeNearestNeighbor"
    assert BUILTIN_CALLS["L2_POOL_2D"] == "AddL2Pool2D"
    assert len(set(BUILTIN_CALLS.values())) == len(BUILTIN_CALLS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SwiftNet VWW (224)", "swiftnet_vww_224"),
        ("224net", "model_224net"),
        ("__x__y__", "x_y"),
        ("äöü", "model"),
        ("", "model"),
        ("a" * 60, "a" * 48),
    ],
)
def test_identifiers(name: str, expected: str) -> None:
    assert identifier(name, "model") == expected


@given(st.text())
def test_names_are_safe(text: str) -> None:
    name = identifier(text, "model")
    assert name.isascii()
    assert name.isidentifier()
    assert "__" not in name
    plain = comment(text)
    assert plain.isascii()
    assert not set(plain) & set("*\\\n?")
    quoted = literal(text)
    assert quoted[0] == quoted[-1] == '"'
    # Python reads the same escapes; the bytes come back.
    assert eval(f"b{quoted}") == text.encode()


def test_a_folder(tmp_path: Path) -> None:
    data = tflite_bytes()
    source = read(data)
    folder = tmp_path / "Tiny-Net.lowtide.c"
    assert write(source, folder, ARENA) == folder
    names = ["lowtide.json", "tiny_net.h", "tiny_net_model.cc"]
    assert sorted(path.name for path in folder.iterdir()) == names
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    write(source, folder, replace_arena := Arena(2000, "measured", "another"))
    assert first["tiny_net.h"] != (folder / "tiny_net.h").read_bytes()
    assert emit(source, "tiny_net", replace_arena) == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_name_of_ones_own(tmp_path: Path) -> None:
    write(read(tflite_bytes()), tmp_path / "out", ARENA, name="net")
    assert (tmp_path / "out" / "net.h").exists()


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    source = read(tflite_bytes())
    folder = tmp_path / "out"

    def refused(reason: str) -> None:
        before = {p.name: p.read_bytes() for p in folder.iterdir()} if folder.is_dir() else {}
        with pytest.raises(InputError, match=reason):
            write(source, folder, ARENA)
        if folder.is_dir():
            assert before == {p.name: p.read_bytes() for p in folder.iterdir()}
        assert len(list(tmp_path.iterdir())) == 1

    folder.write_text("mine")
    refused("is a file")
    folder.unlink()
    folder.mkdir()
    write(source, folder, ARENA)  # an empty folder is nobody's
    (folder / "mine.txt").write_text("mine")
    refused("mine.txt")
    (folder / "mine.txt").unlink()
    (folder / "out.h").write_text("changed by hand")
    refused("out.h")
    for content in ("[]", "{", '{"files": 1}', "[" * 100_000, "{}"):
        (folder / "lowtide.json").write_text(content)
        refused("did not write")
    (folder / "lowtide.json").unlink()
    refused("did not write")
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path)
    with pytest.raises(InputError, match="is a link"):
        write(source, folder, ARENA)
    folder.unlink()
    with pytest.raises(InputError, match="create it first"):
        write(source, tmp_path / "no" / "out", ARENA)


def test_the_old_folder_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where folders cannot be exchanged and the second renaming fails."""
    source = read(tflite_bytes())
    folder = tmp_path / "out"
    write(source, folder, ARENA)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def cannot(one: Path, two: Path) -> bool:
        return False

    monkeypatch.setattr(atomic, "_exchange", cannot)
    rename = os.rename
    calls: list[Path] = []

    def failing(one: Path, two: Path) -> None:
        calls.append(two)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        rename(one, two)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(InputError, match="No space left"):
        write(source, folder, Arena(4096, "measured", "another"))
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(os, "rename", rename)
    write(source, folder, Arena(4096, "measured", "another"))
    assert before != {path.name: path.read_bytes() for path in folder.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
