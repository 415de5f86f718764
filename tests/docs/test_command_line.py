"""The page on the command line says what the commands say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.command_page import command_page, commands

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


def test_the_page_is_up_to_date(request: pytest.FixtureRequest) -> None:
    made = command_page()
    if request.config.getoption("--update-golden"):
        PAGE.write_text(made, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == made, "run pytest tests/docs --update-golden"


def test_every_command_and_option_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = commands()
    assert {"optimize", "fits", "solve remat", "check"} <= found.keys()
    for name, command in found.items():
        section = text.partition(f"\n## lowtide {name}\n")[2].partition("\n## ")[0]
        options = [o for p in getattr(command, "params", []) for o in getattr(p, "opts", [])]
        spelled = set(re.findall(r"(?:`|<code>)(--?[\w-]+)", section))
        missing = [o for o in options if o.startswith("-") and o not in spelled]
        assert section, name
        assert not missing, (name, missing)
