"""`streamgauge gateway`: StatsD, OTLP and posted events, for applications that cannot link the library."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import click

from streamgauge.console.cli import FINDING
from streamgauge.console.gateway_settings import GatewaySettings
from streamgauge.console.options import with_settings
from streamgauge.console.output import note, print_json
from streamgauge.console.service import configure_logging, leave, on_end


@click.command(
    "gateway",
    epilog="Example: streamgauge gateway --statsd-udp 127.0.0.1:8125 --gateway-http 127.0.0.1:4318",
)
@with_settings(GatewaySettings)
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON at the end.")
@click.option("--verbose", is_flag=True, help="Say more.")
@click.option("--quiet", is_flag=True, help="Say only what is wrong.")
def gateway(settings: GatewaySettings, as_json: bool, verbose: bool, quiet: bool) -> int:
    """Take StatsD and DogStatsD, OTLP metrics over HTTP and posted events, and send them to Kafka.

    Ends cleanly on SIGTERM and Ctrl-C. Exit code 1 when something that was taken could not be delivered by then.
    """
    configure_logging(verbose, quiet)
    on_end(leave)
    settings.check()

    from streamgauge.console.gateway import Gateway
    from streamgauge.console.gateway_doors import run
    from streamgauge.producers.transport import KafkaTransport, kafka_config
    from streamgauge.schemas.contract_topic import ContractFeed
    from streamgauge.schemas.contracts import load_contracts
    from streamgauge.schemas.kafka_config import client_config

    known = load_contracts(settings.contracts)
    feed = ContractFeed(
        client_config(settings.brokers, settings.kafka, settings.kafka_password), settings.region, known
    )
    running = Gateway(settings, KafkaTransport(kafka_config(settings.producer())), feed.current)

    def ready(addresses: Mapping[str, str]) -> None:
        if not quiet:
            places = ", ".join(f"{name} {where}" for name, where in addresses.items())
            note(f"listening: {places}; sending to {','.join(settings.brokers)}, region {settings.region}")

    feed.start()
    try:
        lost = asyncio.run(run(running, ready))
    finally:
        feed.close()
    if as_json:
        print_json(running.json())
    elif not quiet:
        note(running.line())
    if lost:
        note(f"{lost} points could not be delivered in time and are lost")
    return FINDING if lost else 0
