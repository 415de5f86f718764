"""Compile a C program with the system's compiler, and run it on given inputs.

inputs, one after the other, on stdin --> NAME_run --> outputs, one after the other, on stdout
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lowtide.errors import InputError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FLAGS", "Sizes", "compile_program", "compiler", "run_program", "sizes_of"]

FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
_COMPILE_S, _RUN_S = 600.0, 600.0
_MAIN = """\
#include "{name}.h"
#include <stdio.h>
#include <stdlib.h>

static void *array(size_t bytes) {{
  void *found = malloc(bytes ? bytes : 1);
  if (!found) exit(2);
  return found;
}}

int main(void) {{
  void *in[{inputs}], *out[{outputs}];
  static const size_t in_bytes[] = {{{in_bytes}}}, out_bytes[] = {{{out_bytes}}};
  for (int i = 0; i < {inputs}; i++) {{
    in[i] = array(in_bytes[i]);
    if (fread(in[i], 1, in_bytes[i], stdin) != in_bytes[i]) return 1;
  }}
  for (int i = 0; i < {outputs}; i++) out[i] = array(out_bytes[i]);
  for (int twice = 0; twice < 2; twice++) {name}_run({arguments});
  for (int i = 0; i < {outputs}; i++)
    if (fwrite(out[i], 1, out_bytes[i], stdout) != out_bytes[i]) return 1;
  return 0;
}}
"""


def compiler() -> str | None:
    """The system's C compiler; None where there is none."""
    return next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None)


def compile_program(folder: Path, name: str, build: Path) -> None:
    """Compile a program's sources to objects in `build`, with every warning an error.

    Raises:
        InputError: there is no compiler.
        VerificationError: it rejects the sources.
    """
    for source in (f"{name}.c", f"{name}_data.c"):
        _compiler_run(["-c", str(folder / source), "-o", str(build / f"{source}.o")])


def run_program(
    folder: Path,
    name: str,
    build: Path,
    inputs: Sequence[NDArray[np.generic]],
    outputs: Sequence[NDArray[np.generic]],
) -> list[NDArray[np.generic]]:
    """Link compiled objects with a main program, run it; the model is called twice.

    Args:
        folder: of the sources.
        name: the program's.
        build: of the objects.
        inputs: in the order of the function.
        outputs: arrays with the shapes and types of the results.

    Raises:
        InputError: there is no compiler.
        VerificationError: the program fails.
    """
    main = build / "main.c"
    arguments = [f"in[{i}]" for i in range(len(inputs))]
    arguments += [f"out[{i}]" for i in range(len(outputs))]
    main.write_text(
        _MAIN.format(
            name=name,
            inputs=len(inputs),
            outputs=len(outputs),
            in_bytes=", ".join(str(array.nbytes) for array in inputs) or "0",
            out_bytes=", ".join(str(array.nbytes) for array in outputs) or "0",
            arguments=", ".join(arguments),
        )
    )
    program = build / "program"
    objects = [str(build / f"{source}.o") for source in (f"{name}.c", f"{name}_data.c")]
    _compiler_run(["-I", str(folder), str(main), *objects, "-lm", "-o", str(program)])
    given = b"".join(np.ascontiguousarray(array).tobytes() for array in inputs)
    try:
        done = subprocess.run(
            [program], input=given, capture_output=True, check=False, timeout=_RUN_S
        )
    except subprocess.TimeoutExpired:
        raise VerificationError(f"the C program gives no answer within {_RUN_S:g} s") from None
    if done.returncode or len(done.stdout) != sum(array.nbytes for array in outputs):
        raise VerificationError(f"the C program fails (exit code {done.returncode})")
    found: list[NDArray[np.generic]] = []
    at = 0
    for array in outputs:
        flat = np.frombuffer(done.stdout, array.dtype, array.size, at)
        found.append(flat.reshape(array.shape))
        at += array.nbytes
    return found


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a compiled program's sections, without main and libc.

    Attributes:
        text: code, and constants of the code.
        weights: in their own section.
        memory: written at run time: the arena.
    """

    text: int
    weights: int
    memory: int


def sizes_of(name: str, build: Path) -> Sizes | None:
    """The sections of the compiled objects; None without binutils."""
    tool = shutil.which("size")
    if tool is None:
        return None
    found: Counter[str] = Counter()
    for source in (f"{name}.c", f"{name}_data.c"):
        command = [tool, "-A", str(build / f"{source}.o")]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for line in lines.splitlines():
            section, _, rest = line.partition(" ")
            size = rest.split()[:1]
            if size and size[0].isdigit():
                found[_kind(section, name)] += int(size[0])
    return Sizes(found["text"], found["weights"], found["memory"])


def _kind(section: str, name: str) -> str:
    if section == f"{name}_weights":
        return "weights"
    if section.startswith((".data", ".bss")):
        return "memory"
    return "text" if section.startswith((".text", ".rodata")) else "neither"


def _compiler_run(arguments: list[str]) -> None:
    tool = compiler()
    if tool is None:
        raise InputError("there is no C compiler to try the program with: install gcc, or clang")
    try:
        done = subprocess.run(
            [tool, *FLAGS, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMPILE_S,
        )
    except subprocess.TimeoutExpired:
        raise VerificationError(f"the C compiler takes over {_COMPILE_S:g} s") from None
    if done.returncode:
        raise VerificationError(f"the C compiler rejects the program: {done.stderr[:300]}")
