"""`python -m streamgauge.console.shop --region ap-southeast-2 --seconds 60 --seed 7`: one region's shop, as a process.

Brokers and deployment come from STREAMGAUGE_* variables. One JSON line a second on standard output, a last one with
`"final": true`. SIGTERM and SIGINT close it within three seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence

import orjson

from streamgauge.console.shop.incident import Incident
from streamgauge.console.shop.region import Opening, Shop
from streamgauge.console.shop.traffic import MARKETS
from streamgauge.producers import producer_settings
from streamgauge.schemas.errors import StreamgaugeError


def opening(arguments: Sequence[str] | None = None) -> Opening:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m streamgauge.console.shop", description=__doc__)
    parser.add_argument("--region", required=True, choices=tuple(MARKETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is open")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--incident-from", type=float, default=0.0, help="seconds after the opening")
    parser.add_argument("--incident-to", type=float, default=0.0)
    parser.add_argument("--stats-every", type=float, default=1.0)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the load")
    given = parser.parse_args(arguments)
    return Opening(
        region=given.region,
        seconds=given.seconds,
        seed=given.seed,
        incident=Incident(given.incident_from, given.incident_to),
        stats_every=max(0.05, given.stats_every),
        scale=given.scale,
    )


def say(words: Mapping[str, object]) -> None:
    """One JSON line on standard output, at once."""
    sys.stdout.buffer.write(orjson.dumps(words, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


async def run(asked: Opening) -> None:
    """Open the shop until its time is over or a signal comes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Shop(asked, producer_settings(), say).run(stop)


def main() -> int:
    """The process; its exit code."""
    try:
        asyncio.run(run(opening()))
    except StreamgaugeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
