"""Lives of topics, where no broker is needed to tell them."""

from __future__ import annotations

from streamgauge.schemas.incarnations import Incarnations


def test_a_life_that_is_given_holds_for_every_topic_and_asks_nobody() -> None:
    lives = Incarnations({"bootstrap.servers": "127.0.0.1:1"}, ["a", "b"], "one-life")
    lives.find()
    lives.check({"a", "b"})
    assert (lives["a"], lives["b"]) == ("one-life", "one-life")
