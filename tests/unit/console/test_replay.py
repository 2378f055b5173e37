"""Replay: dense numbers per stream, batches of a size that brokers take, and an account in which no row is missing."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.console import replay as module
from streamgauge.console.cli import main
from streamgauge.console.datafile import Slice
from streamgauge.console.replay import Account, Encoder, Plan, replay, stream_names
from streamgauge.console.rows import RefusedRows, Rows
from streamgauge.console.sender import Batch, Delivered, DrySender
from streamgauge.processors.consents import denied
from streamgauge.producers.event_rows import EventRows
from streamgauge.schemas.columns import Strings
from streamgauge.schemas.consent import Consent
from streamgauge.schemas.contracts import Contract, Field
from streamgauge.schemas.decoding import EventBatch, decode
from streamgauge.schemas.errors import BrokerUnavailable, InputError

NOON = 1_700_000_000_000
CONTRACT = Contract("visit", 1, {"place": Field("dimension")}, time="at")


class Recorder(DrySender):
    """Keeps what it is given, and lets waited time pass on its clock; `fail_at`: what happens at that batch."""

    def __init__(self, fail_at: int = -1, failure: BaseException | None = None) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.now = 0.0
        self._fail_at, self._failure = fail_at, failure

    def send(self, batch: Batch) -> None:
        if len(self.batches) == self._fail_at and self._failure:
            raise self._failure
        self.batches.append(batch)
        super().send(batch)

    def wait(self, seconds: float) -> None:
        self.now += seconds


def plan(streams: int = 3, batch_rows: int = 10, rate: float = 0.0) -> Plan:
    return Plan(CONTRACT, {"service": "replay"}, [f"s{k}" for k in range(streams)], 5, batch_rows, rate)


def slices(*sizes: int) -> Iterator[Slice]:
    first = 1
    for size in sizes:
        places = [f"p{(first + row) % 7}" for row in range(size)]
        yield Slice(pl.DataFrame({"at": [NOON] * size, "place": places}), first, 0.5)
        first += size


def run(parts: Iterator[Slice], sender: Recorder, the_plan: Plan | None = None) -> Account:
    return replay(
        parts, the_plan or plan(), sender, lambda: sender.now, lambda _share, _said: None, lambda _r, _f: None
    )


def decoded(sender: Recorder) -> list[EventBatch]:
    return [cast("EventBatch", decode(batch.value)) for batch in sender.batches]


@given(st.lists(st.integers(0, 45), max_size=5), st.integers(1, 4))
def test_every_stream_is_numbered_densely_and_they_take_turns(sizes: list[int], streams: int) -> None:
    sender = Recorder()
    account = run(slices(*sizes), sender, plan(streams))
    batches = decoded(sender)
    assert sum(len(batch.times) for batch in batches) == account.sent == account.rows == sum(sizes)
    assert [batch.origin.stream for batch in batches] == [f"s{n % streams}" for n in range(len(batches))]
    for name, count in Counter(batch.origin.stream for batch in batches).items():
        assert [b.origin.seq for b in batches if b.origin.stream == name] == list(range(count))
    assert account.complete
    assert account.streams == min(streams, len(batches))


def test_a_batch_that_is_too_large_is_halved_and_a_row_that_is_too_large_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_BATCH_BYTES", 2_000)
    places = ["p" * 500] * 9 + ["q" * 3_000]
    frame = pl.DataFrame({"at": [NOON] * 10, "place": [f"{row}{place}" for row, place in enumerate(places)]})
    sender = Recorder()
    account = run(iter([Slice(frame, 1, 1.0)]), sender)
    assert all(len(batch.value) <= 2_000 for batch in sender.batches)
    assert (account.rows, account.sent, account.refused) == (10, 9, {"too_large": 1})
    assert account.complete


def test_refused_rows_are_counted_by_reason_and_told_by_number() -> None:
    frame = pl.DataFrame({"at": [NOON, None, NOON], "place": ["a", "b", None]})
    told: list[tuple[RefusedRows, int]] = []
    sender = Recorder()
    account = replay(
        iter([Slice(frame, 101, 1.0)]),
        plan(),
        sender,
        lambda: 0.0,
        lambda _share, _said: None,
        lambda one, first: told.append((one, first)),
    )
    assert (account.sent, account.refused, account.points) == (1, {"missing_value": 2}, 1)
    assert [(one.field, first + one.positions.item()) for one, first in told] == [("at", 102), ("place", 103)]
    assert account.complete


def test_a_rate_is_kept_in_batches_of_at_most_a_second() -> None:
    sender = Recorder()
    account = run(slices(40), sender, plan(batch_rows=1000, rate=8.0))
    assert [batch.rows for batch in sender.batches] == [8] * 5
    assert account.seconds == pytest.approx(5.0)


@pytest.mark.parametrize("failure", [BrokerUnavailable("gone"), InputError("unreadable"), KeyboardInterrupt()])
def test_an_early_end_is_told_with_what_was_acknowledged(failure: BaseException) -> None:
    account = run(slices(100), Recorder(fail_at=3, failure=failure))
    assert (account.rows, account.sent, account.batches) == (100, 30, 3)
    assert not account.complete
    assert account.interrupted == isinstance(failure, KeyboardInterrupt)
    assert account.problem == ("" if account.interrupted else str(failure))


def test_a_batch_that_the_broker_did_not_take_makes_the_account_incomplete() -> None:
    class Losing(Recorder):
        def close(self, within_s: float) -> None:
            self.delivered = Delivered(batches=1, rows=10, points=10)
            self.delivered.fail("timed out")

    account = run(slices(20), Losing())
    assert (account.sent, account.unacknowledged, account.complete) == (10, 1, False)


def test_a_row_that_is_neither_sent_nor_refused_makes_the_account_incomplete() -> None:
    assert Account(rows=3, sent=2, refused={"bad_time": 1}).complete
    assert not Account(rows=3, sent=1, refused={"bad_time": 1}).complete


@given(st.integers(1, 40), st.integers(1, 12))
def test_streams_spread_evenly_over_the_partitions(count: int, partitions: int) -> None:
    names = stream_names("replay-visit-1a", count, partitions)
    load = Counter(zlib.crc32(name.encode()) % partitions for name in names)
    assert len(set(names)) == count
    assert max(load.values()) == -(-count // partitions)


def test_an_encoder_gives_no_number_twice_over_several_slices() -> None:
    encoder = Encoder(plan(streams=2))
    rows = Rows(np.full(25, NOON), {})
    batches = [decode(batch.value) for _ in range(3) for batch in encoder.batches(rows)]
    identities = [(batch.origin.stream, batch.origin.seq) for batch in batches]
    assert len(set(identities)) == len(identities) == 9


def files(tmp_path: Path, contract: Contract = CONTRACT) -> list[str]:
    (tmp_path / "visit.json").write_bytes(contract.dump())
    (tmp_path / "visits.csv").write_text("at,place,visitor\n2024-01-01,here,jane\nnever,there,john\n,gone,joan\n")
    return ["replay", str(tmp_path / "visits.csv"), "--contract", str(tmp_path / "visit.json"), "--dry-run"]


def test_a_dry_run_needs_no_broker_and_prints_the_account(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in ("rows", "sent", "refused", "points", "dry_run")} == {
        "rows": 3,
        "sent": 1,
        "refused": {"bad_time": 1, "missing_value": 1},
        "points": 1,
        "dry_run": True,
    }


def test_the_list_of_refused_rows_holds_no_values(tmp_path: Path) -> None:
    refused = tmp_path / "refused.ndjson"
    assert main([*files(tmp_path), "--refused", str(refused)]) == 0
    lines = sorted((json.loads(line) for line in refused.read_text().splitlines()), key=lambda one: one["row"])
    assert lines == [
        {"row": 2, "reason": "bad_time", "field": "at"},
        {"row": 3, "reason": "missing_value", "field": "at"},
    ]


def test_a_contract_is_found_by_its_name_in_its_latest_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = files(tmp_path)
    folder = tmp_path / "contracts"
    folder.mkdir()
    for version, field in ((1, "absent"), (2, "place")):
        one = Contract("stay", version, {field: Field("dimension")}, time="at")
        (folder / f"{version}.json").write_bytes(one.dump())
    words[words.index("--contract") + 1] = "stay"
    assert main([*words, "--contracts", str(folder)]) == 0
    assert main(words) == 2
    assert "--contracts" in capsys.readouterr().err


def test_a_contract_without_time_or_with_columns_that_are_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(files(tmp_path, Contract("visit", 1, {"place": Field("dimension")}))) == 2
    assert "--time" in capsys.readouterr().err
    assert main(files(tmp_path, Contract("visit", 1, {"plaice": Field("dimension")}, time="at"))) == 2
    assert "Did you mean 'place'" in capsys.readouterr().err
    assert main(files(tmp_path, Contract("visit", 1, {"plaice": Field("dimension", optional=True)}, time="at"))) == 0


@given(st.lists(st.text(max_size=4), min_size=1, max_size=50))
def test_rows_with_an_idempotency_key_go_where_applications_send_that_key(keys: list[str]) -> None:
    contract = Contract("visit", 1, {"ticket": Field("idempotency_key")}, time="at")
    application = EventRows(contract)
    keyed = Plan(contract, {"service": "replay"}, ["s0"], 5, batch_rows=3)
    sender = Recorder()
    frame = pl.DataFrame({"at": [NOON] * len(keys), "ticket": keys})
    account = run(iter([Slice(frame, 1, 1.0), Slice(frame, len(keys) + 1, 1.0)]), sender, keyed)
    assert account.sent == 2 * len(keys)
    found: Counter[str] = Counter()
    seqs: dict[str, list[int]] = {}
    for batch in decoded(sender):
        column = cast("Strings", batch.fields["ticket"])
        words = [cast("str", column.dictionary[code]) for code in column.index.tolist()]
        found.update(words)
        seqs.setdefault(batch.origin.stream, []).append(batch.origin.seq)
        sent = [application.row({"ticket": word}, NOON)[0] for word in words]
        assert {application.stream(row, "ordinary") for row in sent} == {batch.origin.stream}
    assert found == Counter(keys + keys)
    assert all(numbers == list(range(len(numbers))) for numbers in seqs.values())


def test_rows_of_a_contract_that_needs_consent_go_nowhere_until_somebody_says_that_it_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gated = replace(CONTRACT, purposes=("analytics", "advertising"), legal_basis="consent")
    words = files(tmp_path, gated)
    assert main(words) == 2
    assert "--granted analytics,advertising" in capsys.readouterr().err
    assert main([*words, "--granted", "analytics"]) == 2
    assert "no_consent:advertising" in capsys.readouterr().err
    assert main([*words, "--granted", "Every thing"]) == 2
    assert main([*words, "--granted", "analytics, advertising"]) == 0


def test_the_consent_of_a_file_is_in_every_batch() -> None:
    gated = replace(CONTRACT, legal_basis="consent")
    sender = Recorder()
    granting = replace(plan(), contract=gated, consent=Consent(frozenset({"analytics"})))
    run(slices(25), sender, granting)
    for batch in decoded(sender):
        assert denied(batch, gated) == {}
    assert sum(len(batch.times) for batch in decoded(sender)) == 25
