"""Runs the commands of the documentation: Lowtide's in this process, others in a shell."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.cli import main, optimize_main
from tests.docs.examples import ROOT, commands_of, difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docs.examples import Block

__all__ = ["Shell", "check_pip"]

_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class _Done:
    """A command that was run, and the folder that keeps the files that it made."""

    code: int
    output: str
    files: Path


@dataclass
class Shell:
    """A command that was run before on the same files, on another page, is not run again.

    Attributes:
        store: a folder for what commands made.
    """

    store: Path
    done: dict[str, _Done] = field(default_factory=dict[str, _Done])

    def run(self, block: Block, folder: Path) -> list[str]:
        """Run a block of Bash in a folder; what failed."""
        printed = ""
        for command in commands_of(block):
            where = f"{block.page}:{command.line}"
            words = shlex.split(command.text)
            if words[0] == "pip":
                problem = check_pip(words)
                if problem:
                    return [f"{where}: {problem}"]
                continue
            found = self._run(command.text, words, folder)
            printed += found.output
            if found.code != command.code:
                return [
                    f"{where}: `{command.text}` ended with {found.code}, not {command.code}:\n"
                    f"{found.output}"
                ]
        if block.output is not None and difference(block.output, printed):
            return [f"{block.page}:{block.line}: {difference(block.output, printed)}"]
        return []

    def _run(self, text: str, words: list[str], folder: Path) -> _Done:
        named = [folder / part for word in words for part in word.split("=")[-1:] if part]
        state = "".join(_digest(path) for path in named if path.exists())
        key = hashlib.sha256(f"{text}\0{state}".encode()).hexdigest()
        if key not in self.done:
            before = dict(_stamps(folder))
            code, output = _execute(text, words, folder)
            files = self.store / key
            files.mkdir(parents=True)
            for path, stamp in _stamps(folder):
                if before.get(path) != stamp:
                    (files / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(folder / path, files / path)
            self.done[key] = _Done(code, output, files)
        else:
            shutil.copytree(self.done[key].files, folder, dirs_exist_ok=True)
        return self.done[key]


def _execute(text: str, words: list[str], folder: Path) -> tuple[int, str]:
    command = {"lowtide": main, "optimize": optimize_main}.get(words[0])
    if command is None or re.search(r"[|>;*]", text):
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=folder,
            env={**os.environ, "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        return done.returncode, done.stdout
    out = io.StringIO()
    code: object = None
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            try:
                command(words[1:])
            except SystemExit as stop:
                code = stop.code
    messages = [line for line in errors.getvalue().splitlines() if "error: " in line]
    assert isinstance(code, int)
    return code, out.getvalue() + "".join(f"{line}\n" for line in messages)


def check_pip(words: list[str]) -> str:
    """What is wrong with a command of pip's, which is not run: its folders, and its extras."""
    if words[1:2] != ["install"]:
        return "only `pip install` is known"
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for word in words[2:]:
        match = re.fullmatch(r"(?P<what>[^\[\]]+)(?:\[(?P<extras>[\w,-]+)\])?", word)
        if match is None:
            return f"{word} cannot be read"
        if word.startswith("-"):
            continue
        what = match["what"]
        if what != "lowtide" and not (ROOT / what / "pyproject.toml").is_file():
            return f"{what} is no folder with a project"
        unknown = set((match["extras"] or "").split(",")) - {"", *extras}
        if unknown:
            return f"there is no extra {', '.join(sorted(unknown))}"
    return ""


def _stamps(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            yield path.relative_to(folder).as_posix(), (status.st_mtime_ns, status.st_size)


def _digest(path: Path) -> str:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    contents = [file.read_bytes() for file in files if file.is_file()]
    return hashlib.sha256(b"\0".join(contents)).hexdigest()
