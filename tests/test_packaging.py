"""What people install: one namespace of five parts, typed, and producers that need nothing but their two dependencies."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("schemas", "producers", "processors", "sinks", "console")

# an application that only emits must not pay for, or even have, what the other parts need
BARE = """
import sys

allowed = {"confluent_kafka", "orjson", "streamgauge"}
refused = []

class OnlyTheBase:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and top not in sys.stdlib_module_names:
            refused.append(name)
            raise ModuleNotFoundError(f"not a base dependency: {name}", name=name)
        return None

before = set(sys.modules)
sys.meta_path.insert(0, OnlyTheBase())
import %s
foreign = {name.partition(".")[0] for name in set(sys.modules) - before} - allowed - set(sys.stdlib_module_names)
# the standard library asks everywhere for modules of other platforms: `org` of Jython, `_wmi` of Windows
print(sorted(foreign), sorted({name.partition(".")[0] for name in refused} - {"org", "_wmi"}))
"""


def bare_import(module: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BARE % module], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_namespace_stays_a_namespace() -> None:
    # one __init__.py in any streamgauge/ would hide the other four parts
    assert [path for part in PARTS for path in (ROOT / part / "streamgauge").glob("__init__.py*")] == []


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_a_typed_package_with_its_own_name(part: str) -> None:
    inside = sorted(path.name for path in (ROOT / part / "streamgauge").iterdir() if path.name != "__pycache__")

    assert inside == [part]
    assert (ROOT / part / "streamgauge" / part / "py.typed").is_file()
    assert (ROOT / part / "streamgauge" / part / "__init__.py").is_file()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in a wheel built from this tree."""
    out = tmp_path_factory.mktemp("wheel")
    # without isolation: what builds is pinned in requirements/build.lock, and nothing is fetched
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_five_parts_and_nothing_else(wheel: list[str]) -> None:
    code = [name for name in wheel if ".dist-info/" not in name]

    assert [name for name in code if not name.startswith("streamgauge/")] == []
    assert {name.split("/")[1] for name in code} == set(PARTS)


def test_the_wheel_holds_every_file_of_the_parts(wheel: list[str]) -> None:
    # data (SQL, pages, registries) is as much needed as code
    tree = {
        str(path.relative_to(ROOT / part))
        for part in PARTS
        for path in (ROOT / part / "streamgauge").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {name for name in wheel if ".dist-info/" not in name} == tree


@pytest.mark.parametrize("module", ["streamgauge.producers", "streamgauge.schemas"])
def test_a_bare_install_can_import(module: str) -> None:
    done = bare_import(module)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "[] []\n"


def test_the_guard_of_a_bare_import_can_fail() -> None:
    assert "not a base dependency: numpy" in bare_import("numpy").stderr
