"""Requirements: a bridge without its library says what to install, and bridges without one need none."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from streamgauge.producers.bridges.requirements import MissingLibrary, need
from tests.test_packaging import bare_import

NEEDS = {
    "celery": "celery",
    "django": "asgiref",
    "flask": "flask",
    "host": "psutil",
    "httpx": "httpx",
    "process": "psutil",
    "redis": "redis",
    "requests": "requests",
    "sqlalchemy": "sqlalchemy",
}
FREE = ("asgi", "asgi_routes", "caches", "http_client", "http_server", "kafka_lag", "logs", "runtime", "wsgi")


@pytest.mark.parametrize(("bridge", "library"), NEEDS.items())
def test_a_bridge_without_its_library_says_what_to_install(
    bridge: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"streamgauge.producers.bridges.{bridge}"
    importlib.import_module(module)
    for name in [name for name in sys.modules if name == library or name.startswith(f"{library}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, module)

    with pytest.raises(MissingLibrary, match=f"needs {library}, which is not installed: pip install '"):
        importlib.import_module(module)


def test_a_library_that_lacks_something_itself_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_a_library.py").write_text("import its_own_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="its_own_dependency") as caught:
        need("half_a_library", "half-a-library")
    assert not isinstance(caught.value, MissingLibrary)


def test_bridges_without_a_library_need_a_bare_install_only() -> None:
    done = bare_import(", ".join(f"streamgauge.producers.bridges.{name}" for name in FREE))

    assert done.returncode == 0, done.stderr
    assert done.stdout == "[] []\n"


def test_the_producers_load_no_bridge() -> None:
    done = bare_import("streamgauge.producers; print([name for name in sys.modules if 'bridges' in name])\nimport json")

    assert done.stdout.splitlines()[0] == "[]"
