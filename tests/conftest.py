"""Settings shared by all tests."""

from __future__ import annotations

import shutil
import signal
import sys
import tomllib
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
# Even so Hypothesis mixes in constants from whatever modules are loaded, which differ from run to
# run: other examples have to pass as well.
settings.register_profile("explore", settings.get_profile("default"), derandomize=False)
settings.load_profile("default")

GOLDEN = Path(__file__).with_name("golden")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files from what is found"
    )


@pytest.fixture(autouse=True)
def interruptible() -> Generator[None]:
    """SIGINT raises KeyboardInterrupt, also where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the golden file of that name, or rewrite it with `--update-golden`."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"{path.name} is missing: run pytest with --update-golden"
        assert text == path.read_text()

    return compare


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example plugin, and one broken pass, as pip would install them."""
    source = Path(__file__).parent.parent / "examples" / "plugin"
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    groups = {**project["entry-points"]}
    groups["lowtide.passes"] = {**groups["lowtide.passes"], "broken": "lowtide_example:Missing"}
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    site = tmp_path / "site"
    info = site / f"lowtide_example_plugin-{project['version']}.dist-info"
    info.mkdir(parents=True)
    shutil.copy(source / "lowtide_example.py", site)
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata)
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "lowtide_example", raising=False)
