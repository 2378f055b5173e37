"""Three real Kafka nodes that are one cluster: broker and controller each, three copies of everything, two in sync to write.

Any one of them may be away: what was acknowledged is on another one, and the rest goes on.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from tests.support.kafka import HOST, KafkaBroker, KafkaDidNotStart, fetch_jars, find_java, free_ports

NODES = 3
INTERNAL_PARTITIONS = 4
"""Of the groups' offsets, and of the transactions' state; see `server_properties`."""
Ports = tuple[int, int]
"""For clients, and for the other controllers."""
COPIES = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}


class KafkaNode(KafkaBroker):
    """One node of a cluster. It answers only while a majority of them runs, so that starting and waiting are two steps."""

    def __init__(self, number: int, everyone: list[Ports], heap: str) -> None:
        super().__init__(heap=heap)
        self.number = number
        self._everyone = everyone

    def properties(self, directory: Path, client_port: int, controller_port: int) -> dict[str, str]:
        """A single node's, with neighbours."""
        voters = ",".join(f"{number}@{HOST}:{port}" for number, (_, port) in enumerate(self._everyone, 1))
        own = {"node.id": str(self.number), "controller.quorum.voters": voters}
        return super().properties(directory, client_port, controller_port) | COPIES | own

    def make(self) -> None:
        """Make its directory, and what is in it before the first start."""
        self._java, self._classpath = find_java(), f"{fetch_jars()}/*"
        self._directory = Path(tempfile.mkdtemp(prefix=f"streamgauge-kafka-{self.number}-"))
        self._ports = self._everyone[self.number - 1]
        self._format(self._directory, *self._ports)

    def begin(self) -> None:
        """Start it, as often as one likes; nobody waits."""
        self._run(self.directory, "server")

    def ready(self) -> None:
        """Wait until it answers. Raises KafkaDidNotStart."""
        if self._process is None:
            raise KafkaDidNotStart(f"node {self.number} is not running: call begin()")
        self._wait_until_ready(self._process)

    def restart(self) -> None:
        """After `kill`: the others have declared it dead, or will before they take it back."""
        self.begin()
        self.ready()


class KafkaCluster:
    """Three nodes in a `with` block. They end with the process that started them, even when that is killed."""

    def __init__(self, heap: str = "256m") -> None:
        self._heap = heap
        self.nodes: list[KafkaNode] = []
        self._asking: Any = None

    @property
    def bootstrap(self) -> str:
        """Addresses of all nodes, for `bootstrap.servers`; stays the same whoever is away."""
        return ",".join(node.bootstrap for node in self.nodes)

    def __enter__(self) -> Self:
        for attempt in (1, 2, 3):
            ports = free_ports(2 * NODES)
            everyone = list(zip(ports[::2], ports[1::2], strict=True))
            self.nodes = [KafkaNode(number, everyone, self._heap) for number in range(1, NODES + 1)]
            try:
                with ThreadPoolExecutor(NODES) as pool:
                    list(pool.map(KafkaNode.make, self.nodes))
                for node in self.nodes:
                    node.begin()
                for node in self.nodes:
                    node.ready()
                self._until(lambda: len(self._admin.list_topics(timeout=2).brokers) == NODES, "all nodes are members")
            except KafkaDidNotStart as failure:
                self.close()
                if attempt == NODES or "Address already in use" not in str(failure):
                    raise
            except BaseException:
                self.close()
                raise
            else:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all of it."""
        self._asking = None
        for node in self.nodes:
            node.close()

    @property
    def _admin(self) -> Any:
        # kept: one that is forgotten answers nothing that it was asked
        if self._asking is None:
            self._asking = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._asking

    def leader(self, topic: str, partition: int) -> KafkaNode:
        """The node that leads a partition, once there is one."""
        found: list[int] = []

        def led() -> bool:
            found[:] = [self._admin.list_topics(topic, timeout=5).topics[topic].partitions[partition].leader]
            return found[0] > 0

        self._until(led, f"{topic}/{partition} has a leader", 30)
        return self.nodes[found[0] - 1]

    def coordinator(self, group: str) -> KafkaNode:
        """The node that coordinates a consumer group."""
        text = 0  # as Java hashes a string: admin clients go on asking a coordinator that has died
        for letter in group.encode():
            text = (31 * text + letter) & 0xFFFFFFFF
        return self.leader("__consumer_offsets", (text & 0x7FFFFFFF) % INTERNAL_PARTITIONS)

    def transactions(self, node: KafkaNode) -> int:
        """How many of the transaction logs a node leads."""
        return sum(self.leader("__transaction_state", one) is node for one in range(INTERNAL_PARTITIONS))

    def whole(self, within: float = 60) -> float:
        """Seconds until every copy of every partition is in sync: only then one more node may go."""
        return self._until(lambda: not self._missing(), "every copy is in sync", within)

    def _missing(self) -> list[str]:
        """Partitions that lack a copy."""
        names = list(self._admin.list_topics(timeout=3).topics)
        found = self._admin.describe_topics(TopicCollection(names), request_timeout=3)
        return [
            f"{name}/{one.id}" for name, asked in found.items() for one in asked.result(5).partitions
            if len(one.isr) < NODES
        ]  # fmt: skip

    def _until(self, condition: Any, what: str, within: float = 60) -> float:
        start = time.monotonic()
        while True:
            with contextlib.suppress(KafkaException):
                if condition():
                    return time.monotonic() - start
            if time.monotonic() - start > within:
                raise KafkaDidNotStart(f"not within {within} s: {what}\n" + "\n".join(self.logs()))
            time.sleep(0.1)

    def logs(self) -> Iterator[str]:
        """The last words of every node."""
        return (f"--- node {node.number}\n{node.log()[-1500:]}" for node in self.nodes)
