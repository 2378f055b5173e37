"""There is exactly one source of keys; without a usable one nothing starts; what workers log are fingerprints."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest

from streamgauge.processors.app import Worker
from streamgauge.processors.key_sources import KeyWatch, key_source
from streamgauge.processors.keyring import DAY_MS, Keyring, ring_of
from streamgauge.processors.keyring_file import change_ring, create_ring
from streamgauge.processors.settings import ProcessorSettings
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret, load
from tests.unit.processors.raw import NOW
from tests.unit.processors.rings import TODAY, TOMORROW, YESTERDAY, ring_with, secret

NONE = Secret("")
PLANTED = secret(0x5B)


class Provider:
    """A provider whose answers are given."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def read(self) -> object:
        """See KeySource."""
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module for factories."""
    made = ModuleType("sg_test_keys")
    monkeypatch.setitem(sys.modules, "sg_test_keys", made)
    return made


def watch_of(module: ModuleType, *answers: object, now_ms: int = NOW) -> KeyWatch:
    """A watch over a provider that gives these rings."""
    provider = Provider(*answers)
    vars(module)["kms"] = lambda: provider
    return KeyWatch(key_source("provider:sg_test_keys:kms", NONE), lambda: now_ms)


def test_there_is_one_source_and_no_other(tmp_path: Path) -> None:
    create_ring(tmp_path / "keys.json", ring_with(TODAY), NOW)
    assert key_source(str(tmp_path / "keys.json"), NONE).read() == ring_with(TODAY)
    assert key_source("", Secret(PLANTED.hex())).read() == ring_of(PLANTED)
    with pytest.raises(SettingsError, match=r"both set.*--take-over"):
        key_source(str(tmp_path / "keys.json"), Secret(PLANTED.hex()))
    with pytest.raises(SettingsError, match=r"no key for pseudonyms.*STREAMGAUGE_KEYS"):
        key_source("", NONE)


@pytest.mark.parametrize(
    "kind", ["none", "both", "missing", "open", "garbage", "destroyed", "future", "short", "no provider"]
)
def test_a_worker_does_not_start_without_a_key_and_asks_no_broker_before(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys.json"
    ring = ring_with(TOMORROW)
    if kind == "destroyed":
        ring = ring_with().destroyed("k1", NOW)
    if kind == "future":
        ring = Keyring(tuple(key for key in ring_with(4_102_444_800_000).keys if key.from_ms), ring.recognition)
    if kind != "missing":
        create_ring(path, ring, NOW)
    if kind == "open":
        path.chmod(0o644)
    if kind == "garbage":
        path.write_text(PLANTED.hex())
    given = {"keys": str(path), "brokers": "127.0.0.1:1"}
    if kind in {"none", "both", "short"}:
        given["pseudonym_key"] = {"none": "", "both": PLANTED.hex(), "short": PLANTED.hex()[:20]}[kind]
    if kind in {"none", "short"}:
        del given["keys"]
    if kind == "no provider":
        given["keys"] = "provider:no.such.module:factory"
    with pytest.raises(SettingsError) as caught:
        Worker(load(ProcessorSettings, file=given))
    assert PLANTED.hex()[:20] not in f"{caught.value!r} {caught.value.__context__!r}"


@pytest.mark.parametrize(
    "spec", ["provider:", "provider:sg_test_keys", "provider:sg_test_keys:nothing", "provider:no.such:f"]
)
def test_a_provider_that_cannot_be_loaded_says_so(module: ModuleType, spec: str) -> None:
    with pytest.raises(SettingsError, match="provider"):
        key_source(spec, NONE)


def test_what_a_provider_raises_or_gives_instead_of_a_ring_is_told_by_type(module: ModuleType) -> None:
    for answer in (RuntimeError(PLANTED.hex()), PLANTED.hex(), None):
        with pytest.raises(SettingsError, match=r"RuntimeError|not a Keyring") as caught:
            watch_of(module, answer)
        assert PLANTED.hex() not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_worker_follows_its_ring_and_logs_fingerprints_only(
    module: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = ring_with(), ring_with(TOMORROW)
    third = second.destroyed("k1", NOW)
    watch = watch_of(module, first, first, second, OSError("no"), third)
    hasher = watch.hasher("eu")
    before = hasher.hashes("a.b", "", ["x"], TOMORROW).tolist()
    assert [watch.adopt(ring, hasher) for ring in [watch.read()] if ring] == [False]
    assert [watch.adopt(ring, hasher) for ring in [watch.read()] if ring] == [True]
    assert (
        hasher.hashes("a.b", "", ["x"], TOMORROW).tolist() != before == hasher.hashes("a.b", "", ["x"], TODAY).tolist()
    )
    assert watch.read() is None  # and the keys that are known stay
    assert hasher.hashes("a.b", "", ["x"], TODAY).tolist() == before
    assert [watch.adopt(ring, hasher) for ring in [watch.read()] if ring] == [True]
    assert hasher.hashes("a.b", "", ["x"], TODAY).tolist() == [0]
    for key in second.keys:
        assert key.fingerprint in caplog.text
        assert key.reveal().hex() not in caplog.text
    assert "going on with the keys that are known" in caplog.text
    assert "the key in force now was destroyed" in caplog.text


def test_what_was_remembered_is_forgotten_when_the_next_key_comes_into_force(module: ModuleType) -> None:
    ring, now = ring_with(TOMORROW), [NOW]
    provider = Provider(ring)
    vars(module)["kms"] = lambda: provider
    watch = KeyWatch(key_source("provider:sg_test_keys:kms", NONE), lambda: now[0])
    hasher = watch.hasher("eu")
    hasher.hashes("a.b", "", ["jane"], NOW)
    watch.adopt(ring, hasher)
    assert vars(hasher)["_seen"]
    now[0] = TOMORROW
    watch.adopt(ring, hasher)
    assert not vars(hasher)["_seen"]


def test_another_key_by_a_known_name_is_not_taken(module: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    first, other = ring_with(YESTERDAY), ring_with(YESTERDAY, first=secret(7))
    watch = watch_of(module, first)
    hasher = watch.hasher("eu")
    before = hasher.hashes("a.b", "", ["x"], 0).tolist()
    assert not watch.adopt(other, hasher)
    assert hasher.hashes("a.b", "", ["x"], 0).tolist() == before
    assert "another key by the name of k1" in caplog.text


async def test_a_ring_is_read_again_at_every_interval_until_the_end(tmp_path: Path) -> None:
    path, ended = tmp_path / "keys.json", asyncio.Event()
    create_ring(path, ring_with(TODAY), NOW)
    watch = KeyWatch(key_source(str(path), NONE), lambda: NOW)
    hasher = watch.hasher("eu")
    running = asyncio.ensure_future(watch.run(hasher, ended, 0.001))
    change_ring(path, "destroyed", NOW, lambda ring: (ring.destroyed("k1", NOW), ring.keys[0]))
    async with asyncio.timeout(10):
        while watch.ring.keys[0].live:  # noqa: ASYNC110  # the file tells nobody that it changed
            await asyncio.sleep(0.001)
    assert hasher.hashes("a.b", "", ["x"], TODAY - DAY_MS).tolist() == [0]
    ended.set()
    await running


@pytest.mark.parametrize("text", ["31m", "500ms", "soon"])
def test_an_interval_that_could_miss_a_new_key_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="keys_interval"):
        load(ProcessorSettings, file={"keys_interval": text})


def test_a_country_is_two_letters() -> None:
    assert load(ProcessorSettings, file={"phone_region": "de"}).phone_region == "DE"
    with pytest.raises(SettingsError, match="two letters"):
        load(ProcessorSettings, file={"phone_region": "Germany"})
