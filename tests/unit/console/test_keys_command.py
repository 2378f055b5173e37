"""`streamgauge keys`: rings are made, rotated and destroyed with care, and no output shows a key."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamgauge.console import commands_keys
from streamgauge.console.cli import main
from streamgauge.processors.keyring import DAY_MS, LEAD_MS, Keyring, day_of
from streamgauge.processors.keyring_file import audit_path, read_ring
from streamgauge.processors.pseudonyms import DistinctHasher
from tests.unit.processors.rings import TODAY, TOMORROW

OLD = "5b" * 32


class Shell:
    """Runs `streamgauge keys`, at an instant that is given, on one ring; keeps all that it says."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.now_ms = TODAY + DAY_MS // 2
        self.said = ""
        self._capsys = capsys
        monkeypatch.setattr(commands_keys, "_now_ms", lambda: self.now_ms)

    def __call__(self, *words: str, code: int = 0) -> str:
        """What is said, on whichever stream."""
        found = main(["keys", *words, "--keys", str(self.path)])
        out, err = self._capsys.readouterr()
        self.said += out + err
        assert found == code, out + err
        return out + err

    def json(self, *words: str, code: int = 0) -> Any:
        """What is printed as JSON."""
        said = self(*words, "--json", code=code)
        return orjson.loads(said[: said.rindex("}") + 1])

    @property
    def ring(self) -> Keyring:
        """As it is in the file."""
        return read_ring(self.path)

    def states(self) -> list[str]:
        """Of all keys."""
        return [f"{one['id']} {one['state']}" for one in self.json("list")["keys"]]


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """No ring is there yet, and no other setting."""
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path / "keys.json", capsys, monkeypatch)


def test_a_ring_lives_from_new_to_destroyed_and_no_key_is_ever_shown(
    shell: Shell, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    shell("new")
    secrets = [shell.ring.keys[0].reveal().hex(), shell.ring.recognition.reveal().hex()]
    assert shell.states() == ["k1 current"]
    assert "k2" in shell("rotate")
    secrets.append(shell.ring.keys[1].reveal().hex())
    assert shell.states() == ["k1 current", "k2 future"]
    shell.now_ms += DAY_MS
    assert shell.states() == ["k1 retired", "k2 current"]
    shell.now_ms += 20 * DAY_MS
    shell("destroy", "k1", "--yes")
    assert shell.states() == ["k1 destroyed", "k2 current"]
    shell("destroy", "k1", "--yes", code=2)
    shell("destroy", "k2", "--yes", code=2)
    shell("rotate", "--from", secrets[0], code=2)
    log = audit_path(shell.path).read_text()
    assert [orjson.loads(line)["what"] for line in log.splitlines()] == ["new", "rotated", "destroyed"]
    assert len(set(secrets)) == 3
    for one in secrets:
        for place in (shell.said, caplog.text, log):
            assert one not in place
            assert one[:12] not in place
    assert secrets[0] not in shell.path.read_text()
    assert {file.name for file in tmp_path.iterdir()} == {"keys.json", "keys.audit.jsonl"}


def test_a_ring_is_never_made_over_another(shell: Shell) -> None:
    shell("new")
    before = shell.path.read_bytes()
    assert "there is a key ring already" in shell("new", code=2)
    assert shell.path.read_bytes() == before


def test_a_key_of_before_is_taken_over_with_its_hashes(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing to take over" in shell("new", "--take-over", code=2)
    monkeypatch.setenv("STREAMGAUGE_PSEUDONYM_KEY", OLD)
    assert "--take-over" in shell("new", code=2)
    shell("new", "--take-over")
    old, new = DistinctHasher(bytes.fromhex(OLD), "eu"), DistinctHasher(shell.ring, "eu", now_ms=shell.now_ms)
    assert old.hashes("a.b", "t", ["c-1"], 0).tolist() == new.hashes("a.b", "t", ["c-1"], shell.now_ms).tolist()
    assert shell.ring.recognition.reveal() != bytes.fromhex(OLD)  # which is destroyed with k1
    assert "both set" in shell("list", code=2)
    assert OLD not in shell.said
    assert "taken over" in audit_path(shell.path).read_text()


def test_rotation_is_from_the_next_midnight_that_all_workers_can_know_of(shell: Shell) -> None:
    shell("new")
    shell.now_ms = TOMORROW - LEAD_MS + 1
    shell("rotate", "--from", day_of(TOMORROW), code=2)
    shell("rotate", "--from", day_of(TODAY), code=2)
    shell("rotate", "--from", "today", code=2)
    shell("rotate")
    assert shell.json("list")["keys"][1]["from"] == day_of(TOMORROW + DAY_MS)
    shell("rotate", code=2)
    shell("rotate", "--from", day_of(TOMORROW + 5 * DAY_MS))
    assert shell.states() == ["k1 current", "k2 future", "k3 future"]
    for day in ("tomorrow", "2027-13-01", "1.1.2027", ""):
        assert "YYYY-MM-DD" in shell("rotate", "--from", day, code=2)


@pytest.mark.parametrize(
    ("flags", "overlap_ms"),
    [
        ((), 10 * DAY_MS),
        (("--accepted-age", "2d"), 5 * DAY_MS),
        (("--accepted-age", "2d", "--raw-retention", "1h"), 2 * DAY_MS + 3_600_000),
    ],
)
def test_a_key_is_not_destroyed_while_events_of_its_days_may_come(
    shell: Shell, flags: tuple[str, ...], overlap_ms: int
) -> None:
    shell("new")
    shell("rotate")
    assert "in force now" in shell("destroy", "k1", "--yes", *flags, code=2)
    shell.now_ms = TOMORROW + overlap_ms - 1
    assert "is needed until" in shell("destroy", "k1", "--yes", *flags, code=2)
    assert shell.ring.keys[0].live
    shell.now_ms += 1
    shell("destroy", "k1", "--yes", *flags)
    assert not shell.ring.keys[0].live


@pytest.mark.parametrize("flags", [("--accepted-age", "forever"), ("--raw-retention", "forever")])
def test_a_key_that_may_be_needed_for_ever_is_destroyed_only_on_a_persons_word(
    shell: Shell, flags: tuple[str, str]
) -> None:
    shell("new")
    shell("rotate")
    shell.now_ms += 1_000 * DAY_MS
    assert "for ever" in shell("destroy", "k1", "--yes", *flags, code=2)
    shell("destroy", "k1", "--yes", "--although-needed", *flags)
    assert shell.states() == ["k1 destroyed", "k2 current"]


def test_a_key_of_days_to_come_can_be_withdrawn(shell: Shell) -> None:
    shell("new")
    shell("rotate")
    shell("destroy", "k2", "--yes")
    shell("rotate")
    assert shell.states() == ["k1 current", "k2 destroyed", "k3 future"]


def test_the_key_in_force_is_destroyed_only_on_a_persons_word_and_can_be_followed_today(shell: Shell) -> None:
    shell("new")
    shell("destroy", "k1", "--yes", "--although-needed")
    body = shell.json("list", code=1)
    assert [one["state"] for one in body["keys"]] == ["destroyed"]
    assert "keys rotate --from today" in shell("list", code=1)
    shell("rotate", "--from", "today")
    assert shell.states() == ["k1 destroyed", "k2 current"]


def test_who_is_asked_and_says_no_has_changed_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, stdin: Callable[[str], None]
) -> None:
    shell("new")
    stdin("n\n")
    shell("destroy", "k1", "--although-needed", code=130)
    assert shell.ring.keys[0].live
    stdin("y\n")
    shell("destroy", "k1", "--although-needed")
    assert not shell.ring.keys[0].live


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets what a person types next."""
    import io

    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_json_tells_everything_but_secrets(shell: Shell) -> None:
    made = shell.json("new")
    assert made["recognition"] == shell.ring.recognition.fingerprint
    assert made["keys"] == [
        {
            "id": "k1", "fingerprint": shell.ring.keys[0].fingerprint, "state": "current", "from": None, "until": None,
            "created_ms": shell.now_ms, "destroyed_ms": None,
        }
    ]  # fmt: skip
    assert shell.json("rotate")["keys"][0]["until"] == day_of(TOMORROW)


def test_a_ring_must_be_named_and_a_providers_keys_are_not_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "new"]) == 2
    assert "--keys" in capsys.readouterr().err
    assert main(["keys", "rotate", "--keys", "provider:a.b:c"]) == 2
    assert "made and destroyed there" in capsys.readouterr().err
    assert main(["keys", "list"]) == 2
    monkeypatch.setenv("STREAMGAUGE_PSEUDONYM_KEY", OLD)
    assert main(["keys", "list"]) == 0
    out = capsys.readouterr().out
    assert "k1" in out
    assert OLD not in out


def test_a_ring_that_others_may_read_or_that_is_none_is_refused_without_a_word_of_it(shell: Shell) -> None:
    shell("new")
    hidden = shell.ring.keys[0].reveal().hex()
    shell.path.chmod(0o644)
    assert "chmod 600" in shell("list", code=2)
    shell.path.chmod(0o600)
    shell.path.write_text(shell.path.read_text()[:-30])
    for words in (("list",), ("rotate",), ("destroy", "k1", "--yes"), ("list", "--debug")):
        assert "not a key ring" in shell(*words, code=2)
    assert hidden not in shell.said
