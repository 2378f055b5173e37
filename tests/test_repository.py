"""Rules of this repository that hold for every file, and proof that the gates which enforce them can fail."""

from __future__ import annotations

import ast
import gc
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("schemas", "producers", "processors", "sinks", "console")
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
MODULES = sorted(path for part in PARTS for path in (ROOT / part / "streamgauge").rglob("*.py"))
TOOLS = Path(sys.executable).parent
LOG_CALLS = {"debug", "info", "warning", "error", "exception", "critical", "log"}

# spelled so that this file does not find itself
REGISTRIES = [
    name.replace("_", ".") for name in ("pypi_org", "files_pythonhosted", "repo_maven", "repo1_maven", "registry_npmjs")
]
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:home|root|Users|work|opt/wheels|mnt|private)/[\w.-]+")


def in_repository() -> list[Path]:
    """Files that are, or would be, tracked."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in in_repository():
        try:
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def syntax(path: Path) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    gc.disable()  # seen with CPython 3.11: what a collection runs in the middle of parsing makes the parser fail
    try:
        return ast.parse(text, str(path))
    finally:
        gc.enable()


def found(path: Path, nodes: list[ast.AST]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}" for node in nodes]


def public_definitions(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, ast.AST, str | None]]:
    """Public functions and classes, and the public methods of public classes, with their docstrings."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.startswith("_") or is_overload(node):
                continue
            yield f"{outer}{node.name}", node, ast.get_docstring(node)
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node, f"{outer}{node.name}.")
        elif isinstance(node, ast.If | ast.Try):
            yield from public_definitions(node, outer)


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether a definition says nothing of its own: overloads, overrides and setters are documented elsewhere."""
    marks = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(marks & {"overload", "override", "setter"})


def is_fstring_log_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LOG_CALLS
        and "log" in ast.unparse(node.func.value).lower()
        and any(isinstance(part, ast.JoinedStr) for argument in node.args for part in ast.walk(argument))
    )


def test_no_module_is_longer_than_500_lines() -> None:
    code = [path for path in in_repository() if path.suffix == ".py"]
    long = {str(path.relative_to(ROOT)): lines for path in code if (lines := path.read_text().count("\n")) > 500}

    assert long == {}


def test_no_file_names_a_package_registry() -> None:
    hits = [f"{path}: {name}" for path, text in texts() for name in REGISTRIES if name in text]

    assert hits == []


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    hits = [f"{path}: {hit}" for path, text in texts() for hit in MACHINE_PATHS.findall(text)]

    assert hits == []


def test_the_search_for_machine_paths_finds_them() -> None:
    samples = ["see /" + "home/ann/streamgauge", '"/' + 'Users/ann"', "cd /" + "root/x"]

    assert [bool(MACHINE_PATHS.search(sample)) for sample in samples] == [True] * len(samples)
    assert not MACHINE_PATHS.search("https://example.org/home/ann, ./work/x, a/mnt/b")


def test_there_are_locks_for_the_demo_for_development_and_for_building() -> None:
    assert [path.name for path in LOCKS] == ["build.lock", "dev.lock", "embedded.lock"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_every_package_by_hash_and_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    entries = re.split(r"\n(?=[a-z])", text)
    pins = [entry.splitlines()[0] for entry in entries]

    assert [pin for pin, entry in zip(pins, entries, strict=True) if "--hash=sha256:" not in entry] == []
    assert [pin for pin in pins if not re.match(r"[a-z0-9._-]+==\S+", pin)] == []
    assert re.findall(r"://|--(?:index|extra-index|find-links|trusted)\S*|^[./]\S*| @ \S+", text, re.MULTILINE) == []


def test_the_demos_lock_pins_what_the_developers_lock_pins() -> None:
    def pins(name: str) -> set[str]:
        return {
            line.rstrip(" \\")
            for line in (ROOT / "requirements" / name).read_text().splitlines()
            if re.match("[a-z]", line)
        }

    assert pins("embedded.lock") - pins("dev.lock") == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_public_says_what_its_caller_may_assume(path: Path) -> None:
    tree = syntax(path)
    bare = [name for name, _, doc in public_definitions(tree) if not doc]

    assert bare == []
    assert ast.get_docstring(tree) or path.name == "__main__.py", "the module says nothing about itself"


def test_the_search_for_missing_docstrings_finds_them() -> None:
    tree = ast.parse("def told():\n 'Says.'\nclass Bare:\n def method(self): ...\n def _own(self): ...\n")

    assert [name for name, _, doc in public_definitions(tree) if not doc] == ["Bare", "Bare.method"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_product_code_neither_asserts_nor_formats_its_log_lines(path: Path) -> None:
    nodes = list(ast.walk(syntax(path)))

    assert found(path, [node for node in nodes if isinstance(node, ast.Assert)]) == []
    assert found(path, [node for node in nodes if is_fstring_log_call(node)]) == []


def test_the_search_for_formatted_log_lines_finds_them() -> None:
    (statement,) = ast.parse('logger.warning(f"lost {count}")').body
    (lazy,) = ast.parse('logger.warning("lost %s", count)').body

    assert any(is_fstring_log_call(node) for node in ast.walk(statement))
    assert not any(is_fstring_log_call(node) for node in ast.walk(lazy))


# Gates that cannot fail are worse than none. Each of these breaks a small tree on purpose.


@pytest.fixture
def small_tree(tmp_path: Path) -> Path:
    """Five empty parts under this repository's own configuration."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_nothing.py").touch()
    for part in PARTS:
        package = tmp_path / part / "streamgauge" / part
        package.mkdir(parents=True)
        (package / "__init__.py").write_text('"""A part."""\n')
    return tmp_path


def gate(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = ":".join(str(tree / part) for part in PARTS)
    return subprocess.run(
        [TOOLS / command[0], *command[1:]],
        cwd=tree,
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_layer_gate_lets_the_console_import_a_part_but_no_part_import_another(small_tree: Path) -> None:
    console = small_tree / "console/streamgauge/console/__init__.py"
    console.write_text('"""Above."""\nfrom streamgauge import sinks as sinks\n')
    allowed = gate(small_tree, "lint-imports", "--no-cache")
    sideways = small_tree / "producers/streamgauge/producers/__init__.py"
    sideways.write_text('"""Sideways."""\nimport streamgauge.sinks\n')
    refused = gate(small_tree, "lint-imports", "--no-cache")

    assert allowed.returncode == 0, allowed.stdout + allowed.stderr
    assert refused.returncode != 0
    assert "streamgauge.producers is not allowed to import streamgauge.sinks" in refused.stdout


def test_the_layer_gate_refuses_schemas_that_look_up(small_tree: Path) -> None:
    upwards = small_tree / "schemas/streamgauge/schemas/__init__.py"
    upwards.write_text('"""Upwards."""\nimport streamgauge.console\n')

    assert gate(small_tree, "lint-imports", "--no-cache").returncode != 0


def test_the_lint_gate_refuses_a_print_and_the_format_gate_a_long_line(small_tree: Path) -> None:
    clean = (
        gate(small_tree, "ruff", "check", "--no-cache", "."),
        gate(small_tree, "ruff", "format", "--check", "--no-cache", "."),
    )
    (small_tree / "sinks/streamgauge/sinks/__init__.py").write_text('"""Sinks."""\n\nprint( "x" )\n')
    dirty = (
        gate(small_tree, "ruff", "check", "--no-cache", "."),
        gate(small_tree, "ruff", "format", "--check", "--no-cache", "."),
    )

    assert [done.returncode for done in clean] == [0, 0], [done.stdout for done in clean]
    assert [done.returncode for done in dirty] == [1, 1]


def test_the_type_gate_refuses_an_untyped_function(small_tree: Path) -> None:
    clean = gate(small_tree, "mypy", "--no-incremental")
    (small_tree / "sinks/streamgauge/sinks/__init__.py").write_text(
        '"""Sinks."""\n\n\ndef keep(row):\n    return row\n'
    )
    dirty = gate(small_tree, "mypy", "--no-incremental")

    assert clean.returncode == 0, clean.stdout
    assert "no-untyped-def" in dirty.stdout


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str, str], str]:
    """Runs a test file of its own under this conftest and returns what pytest said."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]

    def run(code: str, demanded: str = "") -> str:
        (tmp_path / "test_sample.py").write_text(code)
        environment = {"PYTHONPATH": str(ROOT), "STREAMGAUGE_TESTS_REQUIRE": demanded, "STREAMGAUGE_X": "1", "PATH": ""}
        run = [*command, str(tmp_path)]
        return subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False).stdout

    return run


def test_a_demanded_part_that_is_skipped_fails_the_run(sample: Callable[[str, str], str]) -> None:
    code = (
        "import pytest\n"
        "@pytest.mark.clickhouse\n"
        "def test_a_real_part(): pytest.skip('engine is away')\n"
        "def test_another(): pytest.skip('not today')\n"
    )

    assert "2 skipped" in sample(code, "")
    assert "1 failed, 1 skipped" in sample(code, "clickhouse")


def test_a_module_that_skips_itself_fails_a_run_that_demands_parts(sample: Callable[[str, str], str]) -> None:
    code = "import pytest\npytest.importorskip('no_such_module')\n"

    assert "1 skipped" in sample(code, "")
    assert "1 error" in sample(code, "kafka")


def test_a_kafka_test_without_java_is_skipped_or_fails_when_demanded(sample: Callable[[str, str], str]) -> None:
    code = "def test_a_broker(kafka): pass\n"  # marked by its fixture, and PATH is empty

    assert "no `java` on PATH" in sample(code, "")
    assert "1 error" in sample(code, "kafka")


def test_a_test_that_leaves_the_machine_fails_even_when_its_code_swallows_the_refusal(
    sample: Callable[[str, str], str],
) -> None:
    code = (
        "import contextlib, socket\n"
        "def test_caller():\n"
        "    with socket.socket() as s, contextlib.suppress(OSError):\n"
        "        s.connect(('192.0.2.1', 80))\n"
        "def test_neighbour():\n"
        "    with socket.create_server(('127.0.0.1', 0)) as s, socket.create_connection(s.getsockname()): pass\n"
    )
    said = sample(code, "")

    assert "tried to leave the machine" in said
    assert "2 passed, 1 error" in said


def test_settings_of_the_person_who_runs_the_tests_do_not_reach_them(sample: Callable[[str, str], str]) -> None:
    assert "1 passed" in sample("import os\ndef test_clean(): assert 'STREAMGAUGE_X' not in os.environ\n", "")
