"""A real Apache Kafka for tests: one KRaft node on loopback, from Maven jars.

It never outlives the process that started it.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, cast

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streamgauge.schemas.errors import BrokerUnavailable, StreamgaugeError

ROOT = Path(__file__).parents[2]
POM = Path(__file__).with_name("pom.xml")
JARS = ROOT / ".kafka" / "libs"
STAMP = "pom.sha256"
OLDEST_JAVA = 17
# a fixed id: a generated one may begin with "-", which StorageTool takes for an option
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
HOST = "127.0.0.1"

# The shell becomes Java (same pid) and leaves a reader of its standard input behind. When the starting process ends,
# however it ends, its end of the pipe closes: the reader kills the broker and removes its directory ($0). "over" sends
# the reader away. PR_SET_PDEATHSIG would be bound to the starting *thread*, and pre-exec hooks are not safe with threads.
LIFELINE = 'exec 3<&0; { read -r word; [ "$word" = over ] || { kill -KILL $$; rm -rf "$0"; }; } <&3 & exec "$@" 3<&- </dev/null'

LOGGING = """\
Configuration:
  Appenders:
    Console: {name: S, PatternLayout: {pattern: "%d %p %m (%c)%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: [{ref: S}]}
    logger: [{name: org.apache.kafka.controller.ReplicationControlManager, level: WATCHED},
             {name: org.apache.kafka.raft.KafkaRaftClient, level: WATCHED}]
"""


class KafkaToolsMissing(StreamgaugeError):
    """Java or Maven is missing or too old, or the jars cannot be fetched, so no real Kafka can be started here."""


class KafkaDidNotStart(StreamgaugeError):
    """The broker process ended, or did not answer in time. The text ends with the last lines of its log."""


class Broker(Protocol):
    """What a test may ask of any Kafka, started here or found."""

    @property
    def bootstrap(self) -> str:
        """Address for `bootstrap.servers`."""
        ...


class FoundBroker:
    """A Kafka that somebody else runs (for example in Docker). It is only used, never stopped."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    @property
    def bootstrap(self) -> str:
        """Address for `bootstrap.servers`."""
        return self._bootstrap


def find_java() -> str:
    """Path of a Java that can run the broker; KafkaToolsMissing says how to get one."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        place = "JAVA_HOME" if home else "PATH"
        raise KafkaToolsMissing(
            f"no `java` on {place}: install Java {OLDEST_JAVA} or newer (apt-get install openjdk-17-jre-headless)"
        )
    said = subprocess.run(
        [java, "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    ).stderr
    major = java_major(said)
    if major is None or major < OLDEST_JAVA:
        found = "an unknown version" if major is None else f"version {major}"
        raise KafkaToolsMissing(
            f"{java} is {found}; Kafka needs Java {OLDEST_JAVA} or newer: install one, or point JAVA_HOME to it"
        )
    return java


def java_major(version_text: str) -> int | None:
    """Major version in what `java -version` prints ("1.8.0_292" is 8), or None when there is none."""
    found = re.search(r'version "(?:1\.)?(\d+)', version_text)
    return int(found[1]) if found else None


def pom_digest() -> str:
    """What the jars in a folder were made from."""
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def have_jars(jars: Path = JARS) -> bool:
    """Whether the folder holds all the jars the present pom.xml asks for."""
    stamp = jars / STAMP
    return stamp.is_file() and stamp.read_text() == pom_digest()


def fetch_jars(jars: Path = JARS) -> Path:
    """Folder with the broker's jars, fetched through Maven when it is not there or was made from another pom.xml.

    Safe to call at once from several processes; an interrupted fetch leaves nothing that counts as done.
    """
    jars.parent.mkdir(parents=True, exist_ok=True)
    with (jars.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if have_jars(jars):
            return jars
        maven = shutil.which("mvn")
        if maven is None:
            raise KafkaToolsMissing(
                "no `mvn` on PATH and no jars in .kafka/libs: install Maven (apt-get install maven)"
            )
        with tempfile.TemporaryDirectory(dir=jars.parent) as scratch:
            fresh = Path(scratch) / "libs"
            command = [maven, "-q", "-B", "--strict-checksums", "-f", str(POM), "dependency:copy-dependencies"]
            done = subprocess.run(
                [*command, f"-DoutputDirectory={fresh}", "-DincludeScope=runtime"],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            if done.returncode != 0 or not any(fresh.glob("kafka_*.jar")):
                raise KafkaToolsMissing(f"Maven could not fetch Kafka's jars:\n{(done.stdout + done.stderr)[-2000:]}")
            (fresh / STAMP).write_text(pom_digest())
            shutil.rmtree(jars, ignore_errors=True)
            fresh.rename(jars)
    return jars


def free_ports(count: int) -> list[int]:
    """Loopback ports nobody listens on.

    They lie below the range that outgoing connections use, so that a broker that was down finds its port again.
    """
    found: list[int] = []
    source = random.SystemRandom()
    while len(found) < count:
        port = source.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            if port not in found:
                found.append(port)
    return found


def server_properties(directory: Path, client_port: int, controller_port: int) -> dict[str, str]:
    """Settings of a single node that is broker and controller, small enough for a laptop, transactions included."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{HOST}:{client_port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{client_port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(directory / "logs"),
        "num.partitions": "4",
        "auto.create.topics.enable": "true",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        # an abandoned transaction is noticed within a second, not ten
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "num.network.threads": "2",
        "num.io.threads": "4",
        # 128 MiB by default, a quarter of the heap
        "log.cleaner.dedupe.buffer.size": "16777216",
    }


def controller_properties(properties: Mapping[str, str], controller_port: int) -> dict[str, str]:
    """Settings of the same node as a controller alone, that takes a silent broker for dead at once."""
    changed = {
        "process.roles": "controller",
        "listeners": f"CONTROLLER://{HOST}:{controller_port}",
        "broker.session.timeout.ms": "300",
        "broker.heartbeat.interval.ms": "100",
    }
    return {name: value for name, value in properties.items() if name != "advertised.listeners"} | changed


class KafkaBroker:
    """One real Kafka node on free loopback ports, with its data in a directory of its own until `close`.

    As a context manager it is ready inside the block and gone after it. `extra` overrides or adds broker properties.
    The broker ends with the process that started it, even when that is killed. Not for several threads at once.
    """

    def __init__(
        self, extra: Mapping[str, str] | None = None, *, heap: str = "512m", ready_within: float = 90.0
    ) -> None:
        self._extra = dict(extra or {})
        self._heap = heap
        self._ready_within = ready_within
        self._directory: Path | None = None
        self._ports: tuple[int, int] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._crashed = False
        self._java = ""
        self._classpath = ""

    @property
    def bootstrap(self) -> str:
        """Address for `bootstrap.servers`; stays the same over `kill`, `stop` and `restart`."""
        if self._ports is None:
            raise KafkaDidNotStart("this broker was not started: use it in a `with` block, or call start()")
        return f"{HOST}:{self._ports[0]}"

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        if self._process is None:
            raise KafkaDidNotStart("this broker is not running: call start() or restart()")
        return self._process.pid

    @property
    def directory(self) -> Path:
        """Where the broker keeps its data and its log (`server.log`), until `close`."""
        if self._directory is None:
            raise KafkaDidNotStart("this broker was never started, or was closed: call start()")
        return self._directory

    def start(self) -> Self:
        """Make the directory, choose ports, start, and return once the broker answers."""
        if self._process is not None:
            return self
        self._java = find_java()
        self._classpath = f"{fetch_jars()}/*"
        for attempt in (1, 2, 3):
            atexit.register(self.close)
            self._directory = Path(tempfile.mkdtemp(prefix="streamgauge-kafka-"))
            client_port, controller_port = free_ports(2)
            self._ports = (client_port, controller_port)
            try:
                self._format(self._directory, client_port, controller_port)
                self._launch()
            except KafkaDidNotStart as failure:
                self.close()
                # between choosing a port and using it another process may have taken it
                if attempt == 3 or "Address already in use" not in str(failure):
                    raise
            except BaseException:
                self.close()
                raise
            else:
                break
        return self

    def stop(self) -> None:
        """End the broker in good order (SIGTERM, and SIGKILL after 30 s). Data and ports are kept for `restart`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker at once (SIGKILL), as a crash would. Data and ports are kept for `restart`."""
        self._crashed = True
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again with the same data and ports, after `kill` or `stop`; a running broker is stopped first."""
        directory = self.directory
        self.stop()
        if self._crashed:
            self._bury(directory)
            self._crashed = False
        self._launch()

    def close(self) -> None:
        """End the broker for good and remove its data."""
        self._end(signal.SIGKILL)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
        atexit.unregister(self.close)

    def properties(self, directory: Path, client_port: int, controller_port: int) -> dict[str, str]:
        """What the node is told; `extra` still overrides it."""
        return server_properties(directory, client_port, controller_port)

    def log(self) -> str:
        """What the broker printed so far, over all its lives."""
        return self._text("server")

    def _text(self, role: str) -> str:
        path = self._directory / f"{role}.log" if self._directory else None
        return path.read_text(errors="replace") if path and path.is_file() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _format(self, directory: Path, client_port: int, controller_port: int) -> None:
        properties = self.properties(directory, client_port, controller_port) | self._extra
        write_properties(directory / "server.properties", properties)
        write_properties(directory / "controller.properties", controller_properties(properties, controller_port))
        (directory / "server.yaml").write_text(LOGGING.replace("WATCHED", "WARN"))
        (directory / "controller.yaml").write_text(LOGGING.replace("WATCHED", "DEBUG"))
        tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(directory / "server.properties")]
        done = subprocess.run(
            [self._java, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", self._classpath, *tool],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            raise KafkaDidNotStart(f"the broker's storage could not be made:\n{(done.stdout + done.stderr)[-2000:]}")

    def _launch(self) -> None:
        self._wait_until_ready(self._run(self.directory, "server"))

    def _bury(self, directory: Path) -> None:
        """Have the controller alone declare the killed broker dead, as the surviving nodes of a cluster would.

        A combined node that comes back at once still believes that it leads, loads its transactions, and is fenced only
        then; in that moment Kafka 4.3 takes a commit that was acknowledged but has no marker yet for one on a deleted
        topic, and never shows its records (seen in 4 of 5 restarts right after a commit, in 0 of 10 this way).
        """
        (directory / "controller.log").unlink(missing_ok=True)
        process = self._run(directory, "controller")
        deadline = time.monotonic() + self._ready_within
        while True:
            _, fenced, after = self._text("controller").partition("Fencing broker 1 ")
            # the message comes before the record is in the log
            if fenced and "Completed commit" in after:
                break
            if process.poll() is not None or time.monotonic() > deadline:
                text = self._text("controller")[-3000:]
                self._end(signal.SIGKILL)
                raise KafkaDidNotStart(f"the controller did not declare the killed broker dead:\n{text}")
            time.sleep(0.02)
        self._end(signal.SIGTERM)

    def _run(self, directory: Path, role: str) -> subprocess.Popen[bytes]:
        options = [f"-Xmx{self._heap}", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={directory / role}.yaml"]
        command = [self._java, *options, "-cp", self._classpath, "kafka.Kafka", f"{directory / role}.properties"]
        with (directory / f"{role}.log").open("ab") as out:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", LIFELINE, str(directory), *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests; they end the broker in their own time
            )
        return self._process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._ready_within
        while True:
            if process.poll() is not None:
                self._end(signal.SIGKILL)
                raise KafkaDidNotStart(f"the broker ended with code {process.returncode}:\n{self.log()[-3000:]}")
            if listens(self.bootstrap) and answers(self.bootstrap):
                return
            if time.monotonic() > deadline:
                text = self.log()[-3000:]
                self._end(signal.SIGKILL)
                raise KafkaDidNotStart(f"the broker did not answer within {self._ready_within:g} s:\n{text}")
            time.sleep(0.05)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"over\n")
                process.stdin.flush()
        process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write a Java properties file; the values must need no escapes."""
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


def listens(bootstrap: str) -> bool:
    """Whether anybody accepts connections there; asked first, because librdkafka logs every refused one."""
    host, _, port = bootstrap.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def answers(bootstrap: str) -> bool:
    """Whether a Kafka there tells of at least one broker."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    with contextlib.suppress(KafkaException):
        return bool(admin.list_topics(timeout=2).brokers)
    return False


def find_broker(address: str) -> FoundBroker:
    """The Kafka at `host:port`; BrokerUnavailable when nobody answers there."""
    if not (listens(address) and answers(address)):
        raise BrokerUnavailable(
            f"STREAMGAUGE_TEST_KAFKA={address}: no Kafka answers there; start it, or unset the variable"
        )
    return FoundBroker(address)


def create_topic(bootstrap: str, name: str, partitions: int = 1) -> None:
    """Make a topic and return once it exists; KafkaException when it cannot be made."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    # confluent-kafka's hints leave open what the Future holds
    create = cast("Callable[[list[NewTopic]], dict[str, Future[None]]]", getattr(admin, "create_topics"))  # noqa: B009
    create([NewTopic(name, partitions, 1)])[name].result(30)


def main() -> int:
    """Fetch the jars before the tests need them; where that cannot be, say so: those tests will be skipped."""
    if os.environ.get("STREAMGAUGE_TEST_KAFKA"):
        return 0
    started = time.monotonic()
    try:
        find_java()
        fresh = not have_jars()
        fetch_jars()
    except KafkaToolsMissing as missing:
        print(f"  without a real Kafka: {missing}")
        return 0
    if fresh:
        print(f"  fetching Kafka's jars … {time.monotonic() - started:.0f} s (first time only)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
