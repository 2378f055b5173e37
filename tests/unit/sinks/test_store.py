"""The store's adapter: which failures are refusals, and what people are told."""

from __future__ import annotations

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret, load
from streamgauge.sinks.insertion import Outcome
from streamgauge.sinks.settings import SinkSettings
from streamgauge.sinks.store import Store, StoreAddress, error_text, outcome_of, store_url

REFUSED = [60, 81, 16, 47, 53, 62, 115, 192, 193, 194, 195, 497, 516]
UNKNOWN = [3, 159, 202, 209, 210, 241, 242, 243, 252, 285, 319, 999, None]


@pytest.mark.parametrize("code", REFUSED)
def test_a_refusal_is_one_that_trying_soon_does_not_heal(code: int) -> None:
    assert outcome_of(DatabaseError("x", code=code)) is Outcome.REFUSED


@pytest.mark.parametrize("code", UNKNOWN)
def test_overload_full_disks_timeouts_and_silence_are_unknown(code: int | None) -> None:
    assert outcome_of(OperationalError("x", code=code)) is Outcome.UNKNOWN


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(), ValueError("60"), OSError(28, "full")])
def test_everything_else_is_unknown(error: Exception) -> None:
    assert outcome_of(error) is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (60, "streamgauge migrate"), (81, "streamgauge migrate"), (516, "STREAMGAUGE_STORE_PASSWORD"), (497, "rights"),
        (241, "241"),
    ],
)  # fmt: skip
def test_a_failure_says_what_to_do_and_never_repeats_the_servers_words(code: int, advice: str) -> None:
    said = error_text(DatabaseError("value 'hunter2' of row 7", code=code))
    assert advice in said
    assert "hunter2" not in said


def test_a_store_that_does_not_answer_is_told_from_one_that_refuses() -> None:
    store = Store(StoreAddress("http://127.0.0.1:1", "joe", Secret("hunter2"), "db"))
    away, refused = (str(store.unavailable(one)) for one in (OperationalError("x"), DatabaseError("x", code=516)))
    assert "no ClickHouse answers at http://127.0.0.1:1" in away
    assert "STREAMGAUGE_STORE" in away
    assert "refuses" in refused
    assert "STREAMGAUGE_STORE_PASSWORD" in refused
    assert "hunter2" not in away + refused + repr(store.address)


@pytest.mark.parametrize("url", ["http://a:8123", "https://a", " http://a:8123/ ", "http://[::1]:8123"])
def test_an_address_is_a_scheme_and_a_host(url: str) -> None:
    assert store_url(url) == url.strip().rstrip("/")


@pytest.mark.parametrize(
    "url", ["a:8123", "tcp://a:9000", "http://", "http://joe:pw@a", "http://a/db", "http://a:99999", ""]
)
def test_an_address_of_another_kind_is_refused_with_advice(url: str) -> None:
    with pytest.raises(ValueError, match=r"8123|[Pp]ort"):
        store_url(url)


@pytest.mark.parametrize("word", ["two words", "tab\there", "x" * 201])
def test_a_life_of_the_topics_is_one_word_because_intents_hold_it(word: str) -> None:
    with pytest.raises(SettingsError, match="one word"):
        load(SinkSettings, {"incarnation": word})
    assert load(SinkSettings, {"incarnation": " one-word "}).incarnation == "one-word"
