"""The frozen release is small, is what its commit was, and its processes see its own code only."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.releases import PARTS, ROOT, frozen, pack, unpack

SEEN = """
import importlib.util, json, sys
import streamgauge.console.commands_process, streamgauge.console.commands_sink, streamgauge.producers
import streamgauge.processors.app, streamgauge.sinks.app, tests.support.killed_sink
ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "streamgauge"}
files = [module.__file__ for module in ours.values() if getattr(module, "__file__", None)]
paths = [path for module in ours.values() for path in getattr(module, "__path__", ())]
print(json.dumps([files, paths, importlib.util.find_spec("streamgauge.sinks.decisions") is None]))
"""
"""`decisions` is younger than the frozen release."""


def test_there_is_one_frozen_release_and_it_is_small() -> None:
    assert frozen().stat().st_size < 200_000


def test_the_archive_holds_the_code_of_the_five_parts_and_their_licence() -> None:
    with tarfile.open(frozen()) as archive:
        names = archive.getnames()
    assert {tuple(name.split("/")[:2]) for name in names} == {("LICENSE",), *((part, "streamgauge") for part in PARTS)}
    assert [name for name in names if ".." in name or "__pycache__" in name] == []


def test_the_archive_is_what_its_name_says_byte_for_byte() -> None:
    commit = frozen().name.partition(".")[0]
    if subprocess.run(["git", "cat-file", "-e", commit], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("not a git work tree, or without its history")
    assert lzma.decompress(frozen().read_bytes()) == pack(commit)


def test_processes_of_an_older_release_see_its_code_only(tmp_path: Path) -> None:
    older = unpack(frozen(), tmp_path / "older")
    asked = subprocess.run(
        older.python("-c", SEEN), env=older.environ(os.environ, ROOT), cwd=tmp_path, capture_output=True, check=True
    )
    files, paths, younger_is_missing = json.loads(asked.stdout)
    assert len(files) > 50
    assert [one for one in [*files, *paths] if not one.startswith(f"{older.directory}/")] == []
    assert younger_is_missing


def test_an_older_release_refuses_a_setting_that_it_does_not_know(tmp_path: Path) -> None:
    older = unpack(frozen(), tmp_path / "older")
    environ = older.environ({"PATH": "", "STREAMGAUGE_REGION": "eu", "STREAMGAUGE_KEY_HORIZON": "1d"})
    command = older.python("-m", "streamgauge.console.cli", "process")
    refused = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, check=False)
    assert refused.returncode == 2
    assert b"STREAMGAUGE_KEY_HORIZON: there is no such setting" in refused.stderr
