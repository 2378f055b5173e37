"""Settings of the gateway: where it listens, whom it lets in, what it takes at most, and where it sends to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from streamgauge.console.page_guard import is_loopback
from streamgauge.console.settings import properties, region_name
from streamgauge.processors.residency import Residency
from streamgauge.producers.settings import ProducerSettings
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import Secret, duration_ms, flag, names, paths, setting, size_bytes, variable

SIGNED = ("auto", "steps", "values")
NOBODY = ("", "none", "off")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def address(value: str) -> Address | None:
    """`host:port`, or `none`."""
    word = value.strip()
    if word.lower() in NOBODY:
        return None
    try:
        parts = urlsplit(f"//{word}")
        if parts.hostname and parts.port is not None and not parts.path:
            return Address(parts.hostname, parts.port)
    except ValueError:
        pass  # a port that is no number
    raise ValueError("say host:port, for instance 127.0.0.1:8125, or none")


def socket_path(value: str) -> str:
    """The path of a Unix socket, short enough for the kernel."""
    word = value.strip()
    if len(word.encode()) > 100:
        raise ValueError("a Unix socket's path has at most 100 bytes")
    return word


def signed(value: str) -> str:
    """What a gauge's sign means."""
    if value.strip() not in SIGNED:
        raise ValueError(f"say one of {', '.join(SIGNED)}")
    return value.strip()


def natural(value: str) -> int:
    """A number from 0 on."""
    if not value.strip().isdecimal():
        raise ValueError("say a number, 0 or more")
    return int(value)


def positive(value: str) -> int:
    """A number from 1 on."""
    number = natural(value)
    if not number:
        raise ValueError("must be 1 or more")
    return number


def span_ms(value: str) -> int:
    """A time longer than nothing."""
    span = duration_ms(value)
    if span <= 0:
        raise ValueError("must be longer than nothing, for instance 2s")
    return span


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How one gateway behaves. Times are in milliseconds, sizes in bytes."""

    brokers: tuple[str, ...] = setting(("127.0.0.1:9092",), "Kafka brokers, host:port, comma-separated", names)
    region: str = setting("local", "region whose topics are written", region_name)
    data_regions: tuple[str, ...] = setting(
        (), "further regions that data may name, comma-separated; a * at the end for all that begin so", names
    )
    service: str = setting("unknown_service", "service of data whose sender does not say")
    environment: str = setting("development", "environment of data whose sender does not say")
    statsd_udp: Address | None = setting(Address("127.0.0.1", 8125), "StatsD over UDP, host:port or none", address)
    statsd_unix: str = setting("", "StatsD over a Unix datagram socket, its path", socket_path)
    statsd_stream: str = setting("", "DogStatsD over a Unix stream socket, its path", socket_path)
    statsd_tcp: Address | None = setting(None, "StatsD lines over TCP, host:port or none", address)
    statsd_buffer: int = setting(4 << 20, "what the kernel may hold for a StatsD socket", size_bytes)
    statsd_lines: int = setting(0, "StatsD lines a second at most; 0 for no limit", natural)
    statsd_signed_gauges: str = setting(
        "auto",
        "a gauge with a sign is a step (steps), a value (values), or a value from DogStatsD clients (auto)",
        signed,
    )
    gateway_http: Address | None = setting(
        Address("127.0.0.1", 4318), "OTLP and events over HTTP, host:port or none", address
    )
    gateway_token: Secret = setting(Secret(""), "bearer token that HTTP senders must show", Secret)
    gateway_body: int = setting(4 << 20, "size of one HTTP request at most, unpacked", size_bytes)
    gateway_requests: int = setting(0, "HTTP requests a second at most; 0 for no limit", natural)
    gateway_events: int = setting(0, "events a second at most over HTTP; 0 for no limit", natural)
    gateway_max_age: int = setting(86_400_000, "how old a point or event with a time of its own may be", span_ms)
    gateway_senders: int = setting(500, "services, environments, versions, tenants and instances at most", positive)
    gateway_metrics: int = setting(5_000, "metric names at most", positive)
    gateway_tag_sets: int = setting(32, "sets of tag names of one metric at most", positive)
    gateway_series: int = setting(200_000, "series at most, of all metrics and senders", positive)
    gateway_cumulative: int = setting(200_000, "cumulative OTLP series remembered at most", positive)
    series_budget: int = setting(
        2_000, "series of one metric and sender; further ones share the overflow series", positive
    )
    flush_interval: int = setting(2_000, "how often metrics are sent", span_ms)
    exit_timeout: int = setting(10_000, "how long the end waits for delivery", span_ms)
    outbox_bytes: int = setting(64 << 20, "size of what may wait for the broker", size_bytes)
    spool: str = setting("", "directory for what no broker takes; without one it waits in memory only")
    spool_bytes: int = setting(64 << 20, "size of the spool of one process at most", size_bytes)
    spool_pace: int = setting(1 << 20, "bytes a second that are sent again from the spool", size_bytes)
    contracts: tuple[Path, ...] = setting((), "contract files or directories, comma-separated", paths)
    publish_contracts: bool = setting(True, "make the contracts of StatsD events, checks and sets known", flag)
    kafka: tuple[tuple[str, str], ...] = setting((), "librdkafka properties name=value, comma-separated", properties)
    kafka_password: Secret = setting(Secret(""), "SASL password of Kafka", Secret)

    def check(self) -> None:
        """Raise SettingsError for what no gateway should start with."""
        problems: list[str] = []
        if self.gateway_http and not self.gateway_token and not is_loopback(self.gateway_http.host):
            problems.append(
                f"{variable('gateway_http')}: {self.gateway_http} can be reached from other machines; "
                f"set {variable('gateway_token')}, or listen on 127.0.0.1"
            )
        if not (self.statsd_udp or self.statsd_unix or self.statsd_stream or self.statsd_tcp or self.gateway_http):
            problems.append("nothing to listen on: name an address, for instance --statsd-udp 127.0.0.1:8125")
        if problems:
            raise SettingsError(problems)

    def residency(self) -> Residency:
        """Whose data may be taken: on a laptop everybody's."""
        return Residency(self.region, ("*",) if self.region == "local" else self.data_regions)

    def producer(self) -> ProducerSettings:
        """The same for the parts that a gateway shares with an application's producer."""
        return ProducerSettings(
            brokers=",".join(self.brokers),
            region=self.region,
            # a name of its own: the spool is shared by gateways only
            service="streamgauge-gateway",
            environment=self.environment,
            kafka=self.kafka,
            kafka_password=self.kafka_password,
            outbox_bytes=self.outbox_bytes,
            spool=self.spool,
            spool_bytes=self.spool_bytes,
            spool_pace=self.spool_pace,
        )
