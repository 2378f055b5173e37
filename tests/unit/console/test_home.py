"""The home of an embedded instance: its key ring is made once, and an older release's key goes on with its hashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge.console.embedded import Embedded
from streamgauge.console.home import KEY_FILE, Home
from streamgauge.console.options import resolve
from streamgauge.console.settings import DEV_FILE, RING_FILE, ConsoleSettings
from streamgauge.processors.keyring_file import audit_path, read_ring
from streamgauge.processors.pseudonyms import DistinctHasher
from streamgauge.schemas.errors import SettingsError
from tests.unit.processors.raw import NOW

OLD = "5b" * 32


def test_a_ring_is_made_once_and_said_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, again = home.keys(NOW), home.keys(NOW + 1)
    assert (first.path, first.done, again.done) == (tmp_path / RING_FILE, "made", "")
    ring = read_ring(first.path)
    assert ring.keys[0].reveal() != ring.recognition.reveal()
    assert (tmp_path / RING_FILE).stat().st_mode & 0o777 == 0o600


def test_the_key_of_an_older_release_becomes_the_first_and_keeps_its_hashes(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text(OLD + "\n")
    made = Home(tmp_path).keys(NOW)
    assert made.done == "taken over"
    ring = read_ring(made.path)
    old, new = DistinctHasher(bytes.fromhex(OLD), "local"), DistinctHasher(ring, "local", now_ms=NOW)
    for at_ms in (0, NOW, 2 * NOW):
        assert new.hashes("a.b", "", ["c-1"], at_ms).tolist() == old.hashes("a.b", "", ["c-1"], NOW).tolist()
    assert bytes.fromhex(OLD) in ring.recognising(NOW)  # orders of before
    assert not (tmp_path / KEY_FILE).exists()  # destroying k1 must leave no copy of it
    assert OLD not in audit_path(made.path).read_text()


def test_a_bad_key_of_an_older_release_is_left_where_it_is_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text(OLD[:20])
    with pytest.raises(SettingsError) as caught:
        Home(tmp_path).keys(NOW)
    assert OLD[:20] not in str(caught.value)
    assert (tmp_path / KEY_FILE).read_text() == OLD[:20]
    assert not (tmp_path / RING_FILE).exists()


def test_a_ring_that_is_broken_or_open_to_others_stops_the_start(tmp_path: Path) -> None:
    path = Home(tmp_path).keys(NOW).path
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        Home(tmp_path).keys(NOW)


def test_the_parts_get_the_ring_by_its_path_and_what_was_made_is_still_known(tmp_path: Path) -> None:
    embedded = Embedded(Home(tmp_path))
    first, second = embedded.environ(), embedded.environ()
    assert first["STREAMGAUGE_KEYS"] == second["STREAMGAUGE_KEYS"] == str(tmp_path / RING_FILE)
    assert "STREAMGAUGE_PSEUDONYM_KEY" not in first
    assert embedded.ring is not None
    assert embedded.ring.done == "made"
    assert not any(read_ring(embedded.ring.path).keys[0].reveal().hex() in value for value in first.values())


def test_a_fresh_start_removes_the_keys_and_nothing_of_anybody_else(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.keys(NOW)
    (tmp_path / KEY_FILE).write_text(OLD)
    (tmp_path / "mine.txt").write_text("mine")
    home.open(fresh=True)
    home.close()
    assert {one.name for one in tmp_path.iterdir()} == {"mine.txt", "lock", "contracts"}


def test_commands_beside_a_running_instance_know_its_ring_unless_they_are_given_a_key(tmp_path: Path) -> None:
    home = Home(tmp_path / DEV_FILE.parent)
    home.open(fresh=False)
    ring = home.keys(NOW)
    home.announce({"brokers": "127.0.0.1:1", "region": "lab"})
    try:
        found = resolve(ConsoleSettings, {}, {}, None, tmp_path)
        assert (found.keys, found.has_keys, found.region) == (str(ring.path), True, "lab")
        given = resolve(ConsoleSettings, {}, {"STREAMGAUGE_PSEUDONYM_KEY": OLD}, None, tmp_path)
        assert (given.keys, given.pseudonym_key.reveal()) == ("", OLD)
        elsewhere = resolve(ConsoleSettings, {"brokers": "kafka:9092"}, {}, None, tmp_path)
        assert not elsewhere.has_keys
    finally:
        home.close()
