"""Incarnations: the life of each topic, by the id that the broker gave it.

A topic that is deleted and made anew under the same name starts again at offset 0, and no client says so: librdkafka
and aiokafka go on at the old position and pass by what came before it (seen with 2.16 and 0.14 on Kafka 4.3).
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, Protocol, cast

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streamgauge.schemas.errors import BrokerUnavailable, PositionLost


class TopicId(Protocol):
    """What librdkafka gives."""

    def get_most_significant_bits(self) -> int:
        """The first half, signed."""
        ...

    def get_least_significant_bits(self) -> int:
        """The second half, signed."""
        ...


def id_text(found: TopicId) -> str:
    """A topic's id as base64 without its end, 22 characters.

    Its own text is the same, but now and then goes on with what stood in memory (seen with librdkafka 2.16).
    """
    halves = (found.get_most_significant_bits(), found.get_least_significant_bits())
    return b64encode(b"".join((half % (1 << 64)).to_bytes(8, "big") for half in halves)).decode()[:22]


class Incarnations:
    """Known lives of topics. With `fixed`, every topic has that one for ever: for brokers that give no ids.

    `advice` is what a reader is told whose topic was made anew. `now` may be called from several threads.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Collection[str],
        fixed: str = "",
        advice: str = "",
        connect: Callable[[dict[str, Any]], AdminClient] = AdminClient,
    ) -> None:
        self._config = dict(config)
        self._connect = connect
        self._topics = list(topics)
        self._fixed = fixed
        self._advice = advice
        self._admin: AdminClient | None = None
        self._making = threading.Lock()
        self._known: dict[str, str] = {}

    def __getitem__(self, topic: str) -> str:
        return self._known[topic]

    def find(self) -> None:
        """Learn all of them. Raises BrokerUnavailable with advice."""
        try:
            self._known = self.now(self._topics, within_s=10)
        except KafkaException as error:
            refusal = error.args[0]
            if refusal.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise BrokerUnavailable(
                    f"one of the topics {', '.join(self._topics)} does not exist; make them with: streamgauge topics"
                ) from error
            raise BrokerUnavailable(
                f"no Kafka broker answers at {self._config.get('bootstrap.servers')} ({refusal.str()}); start one "
                "(`streamgauge dev` brings its own), or set STREAMGAUGE_BROKERS"
            ) from error

    def check(self, topics: Collection[str]) -> None:
        """Raises PositionLost when one of them was made anew since, KafkaException when nobody says."""
        for topic, found in self.now(topics).items():
            if found != self._known[topic]:
                raise PositionLost(
                    f"{topic} was made anew while it was read (its id was {self._known[topic]}, now it is {found}). "
                    f"{self._advice}"
                )

    def now(self, topics: Collection[str], within_s: int = 2) -> dict[str, str]:
        """The lives of some topics as the brokers say at this moment. Raises KafkaException when nobody says."""
        if self._fixed:
            return dict.fromkeys(topics, self._fixed)
        admin = self._client()
        try:
            futures = cast(
                "dict[str, Future[Any]]",
                admin.describe_topics(TopicCollection(list(topics)), request_timeout=within_s),
            )
            return {name: id_text(future.result(within_s + 5).topic_id) for name, future in futures.items()}
        except (KafkaException, TimeoutError) as error:
            self._forget(admin)
            if isinstance(error, TimeoutError):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
            raise

    def _client(self) -> AdminClient:
        with self._making:  # of two clients the one that is dropped would end look-ups that are under way
            if self._admin is None:  # not `or`: a client counts as false while nothing waits in it
                self._admin = self._connect(self._config)
            return self._admin

    def _forget(self, admin: AdminClient) -> None:
        """It asks one node of the cluster, and goes on asking that one for minutes when it has died (seen with librdkafka
        2.16): the next client learns anew who is there."""
        with self._making:
            if self._admin is admin:
                self._admin = None
