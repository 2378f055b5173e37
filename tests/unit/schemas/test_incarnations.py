"""Lives of topics, where no broker is needed to tell them."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Uuid

from streamgauge.schemas import incarnations
from streamgauge.schemas.incarnations import Incarnations, id_text


def test_a_life_that_is_given_holds_for_every_topic_and_asks_nobody() -> None:
    lives = Incarnations({"bootstrap.servers": "127.0.0.1:1"}, ["a", "b"], "one-life")
    lives.find()
    lives.check({"a", "b"})
    assert (lives["a"], lives["b"]) == ("one-life", "one-life")


def test_a_topics_id_is_the_text_of_its_bits_and_nothing_that_follows_them_in_memory() -> None:
    assert id_text(Uuid(-1, 2)) == "//////////8AAAAAAAAAAg"
    assert id_text(Uuid(5, -3)) == str(Uuid(5, -3))[:22]


def test_one_client_answers_every_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Admin:
        """Has nothing waiting, and so counts as false."""

        def __init__(self, _: object) -> None:
            made.append(self)

        def __len__(self) -> int:
            return 0

        def describe_topics(self, topics: Any, **_: object) -> dict[str, Future[Any]]:
            answer = Future[Any]()
            answer.set_result(SimpleNamespace(topic_id=Uuid(1, len(made))))
            return {"a": answer}

    monkeypatch.setattr(incarnations, "AdminClient", Admin)
    lives = Incarnations({"bootstrap.servers": "127.0.0.1:1"}, ["a"])
    lives.find()
    lives.check(["a"])
    assert (lives["a"], len(made)) == (id_text(Uuid(1, 1)), 1)
