"""Lives of topics, where no broker is needed to tell them."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Uuid
from confluent_kafka.admin import AdminClient

from streamgauge.schemas.errors import BrokerUnavailable
from streamgauge.schemas.incarnations import Incarnations, TopicId, id_text


def test_a_life_that_is_given_holds_for_every_topic_and_asks_nobody() -> None:
    lives = Incarnations({"bootstrap.servers": "127.0.0.1:1"}, ["a", "b"], "one-life")
    lives.find()
    lives.check({"a", "b"})
    assert (lives["a"], lives["b"]) == ("one-life", "one-life")


def topic_id(most: int, least: int) -> TopicId:
    """librdkafka's own, whose stubs leave out what it has."""
    return cast("TopicId", Uuid(most, least))


def test_a_topics_id_is_the_text_of_its_bits_and_nothing_that_follows_them_in_memory() -> None:
    assert id_text(topic_id(-1, 2)) == "//////////8AAAAAAAAAAg"
    assert id_text(topic_id(5, -3)) == str(Uuid(5, -3))[:22]


class Admin:
    """Stands for librdkafka's: bound to a node, which is dead or not. Has nothing waiting, and so counts as false."""

    def __init__(self, dead: bool = False) -> None:
        self.dead = dead
        self.asked = 0

    def __len__(self) -> int:
        return 0

    def describe_topics(self, _: object, request_timeout: float) -> dict[str, Future[object]]:
        """As the real one answers."""
        self.asked += 1
        future: Future[object] = Future()
        if self.dead:
            future.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        else:
            future.set_result(SimpleNamespace(topic_id=Uuid(1, 2)))
        return {"a": future}


def test_a_client_that_asks_a_dead_node_is_replaced_and_one_that_gets_answers_is_kept() -> None:
    clients = [Admin(dead=True), Admin(), Admin()]
    left = iter(clients)
    lives = Incarnations({}, ["a"], connect=lambda _: cast("AdminClient", next(left)))
    with pytest.raises(BrokerUnavailable):
        lives.find()
    lives.find()
    lives.check(["a"])
    assert lives["a"] == id_text(topic_id(1, 2))
    assert [one.asked for one in clients] == [1, 2, 0]
