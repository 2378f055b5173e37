"""A ring file is its owner's alone, changes as a whole, and no error or log shows what is in it."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import orjson
import pytest

from streamgauge.processors.keyring import Key, Keyring
from streamgauge.processors.keyring_file import (
    audit_path,
    change_ring,
    create_ring,
    decode_ring,
    encode_ring,
    erase,
    read_ring,
    whoami,
)
from streamgauge.schemas.errors import InputError, SettingsError
from tests.unit.processors.raw import NOW
from tests.unit.processors.rings import TOMORROW, YESTERDAY, ring_with, secret

RING = ring_with(YESTERDAY).destroyed("k1", NOW)


def destroying(ring: Keyring) -> tuple[Keyring, Key]:
    """k2, for ever."""
    return ring.destroyed("k2", NOW), ring.named("k2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with `RING` in it."""
    create_ring(tmp_path / "keys.json", RING, NOW)
    return tmp_path / "keys.json"


def test_a_ring_comes_back_as_it_was_written(path: Path) -> None:
    assert read_ring(path) == RING
    assert path.stat().st_mode & 0o777 == 0o600
    taken_over = ring_with(YESTERDAY, taken_over=True)
    assert decode_ring(encode_ring(taken_over)) == taken_over


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o777])
def test_a_ring_that_others_may_use_is_refused_with_advice(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(SettingsError, match=rf"mode {mode:04o}.*chmod 600"):
        read_ring(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_ring_of_its_owner_alone_is_read(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert read_ring(path) == RING


def broken(content: bytes) -> list[bytes]:
    """Contents that are no ring, with a secret in most of them."""
    body = orjson.loads(content)
    return [
        b"", content[:-40], content.replace(b'"format": 1', b'"format": 2'), b"[" + content + b"]", content + content,
        orjson.dumps(body | {"keys": secret(2).hex()}), orjson.dumps(body | {"keys": [secret(2).hex()]}),
        orjson.dumps(body | {"keys": [{**body["keys"][1], "from_ms": secret(2).hex()}]}),
        orjson.dumps(body | {"keys": [{**body["keys"][1], "secret": secret(2).hex() + "zz"}]}),
        orjson.dumps(body | {"keys": [{**body["keys"][1], "id": secret(2).hex()}]}),
        orjson.dumps(body | {"keys": []}), orjson.dumps(body | {"recognition": body["recognition"] | {"id": secret(2).hex()}}),
        orjson.dumps(body | {"recognition": None}), b"\xff" + content, bytes(500),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(15))
def test_what_is_no_ring_is_refused_and_nothing_of_it_is_shown(path: Path, number: int) -> None:
    path.write_bytes(broken(path.read_bytes())[number])
    with pytest.raises(SettingsError) as caught:
        read_ring(path)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert secret(2).hex()[:16] not in f"{chain!r} {vars(chain)} {chain.__context__!r}"
        chain = chain.__cause__
    assert str(path) in str(caught.value)


def test_a_missing_ring_says_how_to_make_one_and_a_directory_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="streamgauge keys new --keys"):
        read_ring(tmp_path / "keys.json")
    with pytest.raises(SettingsError, match="directory"):
        read_ring(tmp_path)


def test_a_ring_that_is_there_is_never_replaced_by_a_new_one(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InputError, match="there is a key ring already"):
        create_ring(path, ring_with(), NOW)
    assert path.read_bytes() == before


def test_a_destroyed_secret_is_gone_from_the_new_file_and_from_the_old_ones_blocks(path: Path) -> None:
    with path.open("rb") as old:
        left = path.with_name(f".{path.name}.1.draft")
        left.write_bytes(path.read_bytes())  # by a change that was killed
        assert secret(2).hex().encode() in old.read()
        ring = change_ring(path, "destroyed", NOW, destroying)
        old.seek(0)
        assert set(old.read()) == {0}
    assert read_ring(path) == ring
    assert {one.name for one in path.parent.iterdir()} == {"keys.json", "keys.audit.jsonl"}
    for file in path.parent.iterdir():
        assert secret(2).hex().encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600


def test_every_change_is_on_record_without_a_secret(path: Path) -> None:
    change_ring(path, "destroyed", NOW + 1, destroying)
    lines = [orjson.loads(line) for line in audit_path(path).read_bytes().splitlines()]
    assert [(one["what"], one["id"], one["at_ms"], one["who"]) for one in lines] == [
        ("new", "k1", NOW, whoami()), ("destroyed", "k2", NOW + 1, whoami()),
    ]  # fmt: skip
    assert lines[1]["fingerprint"] == RING.named("k2").fingerprint


def test_a_change_that_is_refused_or_cannot_be_recorded_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(_: Path) -> Path:
        return path.parent / "no such directory" / "log"

    before, log = path.read_bytes(), audit_path(path).read_bytes()
    with pytest.raises(InputError, match="k9"):
        change_ring(path, "destroyed", NOW, lambda ring: (ring.destroyed("k9", NOW), ring.keys[0]))
    monkeypatch.setattr("streamgauge.processors.keyring_file.audit_path", nowhere)
    with pytest.raises(InputError, match="No such file"):
        change_ring(path, "destroyed", NOW, destroying)
    assert (path.read_bytes(), audit_path(path).read_bytes()) == (before, log)


def test_a_ring_behind_a_link_is_changed_where_it_is(path: Path) -> None:
    link = path.with_name("link.json")
    link.symlink_to(path)
    change_ring(link, "destroyed", NOW, destroying)
    assert link.is_symlink()
    assert not read_ring(path).named("k2").live


def test_two_changes_at_once_wait_for_each_other(path: Path) -> None:
    def rotate(number: int) -> None:
        def change(ring: Keyring) -> tuple[Keyring, Key]:
            after = ring.rotated(max(TOMORROW, ring.keys[-1].from_ms + 86_400_000), NOW, secret(number))
            return after, after.keys[-1]

        change_ring(path, "rotated", NOW, change)

    threads = [Thread(target=rotate, args=(number,)) for number in range(10, 18)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(read_ring(path).keys) == 2 + 8
    assert len(audit_path(path).read_bytes().splitlines()) == 1 + 8


def test_who_reads_while_a_ring_is_replaced_reads_the_new_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = os.fstat, list[int]()

    def replaced_meanwhile(fd: int) -> os.stat_result:
        found = real(fd)
        if not seen:
            seen.append(fd)
            monkeypatch.setattr(os, "fstat", real)
            change_ring(path, "destroyed", NOW, destroying)  # overwrites what is about to be read
        return found

    monkeypatch.setattr(os, "fstat", replaced_meanwhile)
    assert not read_ring(path).named("k2").live
    assert seen


def test_a_file_is_overwritten_before_it_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "key"
    target.write_bytes(b"secret")
    with target.open("rb") as held:
        erase(target)
        assert held.read() == bytes(6)
    assert not target.exists()
