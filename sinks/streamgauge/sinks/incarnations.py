"""Incarnations: the life of each topic, by the id that the broker gave it.

A topic that is deleted and made anew under the same name starts again at offset 0, and no client says so: librdkafka
goes on at the old position and passes by what came before it (seen with 2.16 on Kafka 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streamgauge.schemas.errors import BrokerUnavailable, PositionLost
from streamgauge.sinks.decisions import ANEW


class Incarnations:
    """Known lives of topics. With `fixed`, every topic has that one for ever: for brokers that give no ids."""

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Collection[str],
        fixed: str = "",
        connect: Callable[[dict[str, Any]], AdminClient] = AdminClient,
    ) -> None:
        self._config = dict(config)
        self._connect = connect
        self._topics = list(topics)
        self._fixed = fixed
        self._admin: AdminClient | None = None
        self._known: dict[str, str] = {}

    def __getitem__(self, topic: str) -> str:
        return self._known[topic]

    def find(self) -> None:
        """Learn all of them. Raises BrokerUnavailable with advice."""
        if self._fixed:
            self._known = dict.fromkeys(self._topics, self._fixed)
            return
        try:
            self._known = self._describe(self._topics, within_s=10)
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
        if self._fixed:
            return
        for topic, found in self._describe(list(topics), within_s=2).items():
            if found != self._known[topic]:
                raise PositionLost(
                    f"{topic} was made anew while this sink read it (its id was {self._known[topic]}, now it is {found}). "
                    f"{ANEW}"
                )

    def _describe(self, topics: list[str], within_s: int) -> dict[str, str]:
        admin = self._admin = self._admin or self._connect(self._config)
        try:
            futures = cast(
                "dict[str, Future[Any]]", admin.describe_topics(TopicCollection(topics), request_timeout=within_s)
            )
            return {name: str(future.result(within_s + 5).topic_id) for name, future in futures.items()}
        except (KafkaException, TimeoutError) as error:
            # it asks one node of the cluster, and goes on asking that one for minutes when it has died (seen with librdkafka
            # 2.16): the next one learns anew who is there
            self._admin = None
            if isinstance(error, TimeoutError):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
            raise
