"""Shops of the demo: one child process per region, and what they say of themselves."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Mapping
from importlib.resources import files

from streamgauge.console import child
from streamgauge.console.page_accounts import Emission, emission_of_line
from streamgauge.console.session import parse_line
from streamgauge.schemas.contracts import Contract, parse_contract

REGIONS = ("us-east-1", "eu-central-1", "ap-southeast-2")
INCIDENT_REGION = "ap-southeast-2"


def shop_contracts() -> list[Contract]:
    """The contracts of the shop's events, as they are shipped."""
    found = files("streamgauge.console") / "contracts"
    return [
        parse_contract(one.read_bytes(), one.name)
        for one in sorted(found.iterdir(), key=lambda f: f.name)
        if one.name.endswith(".json")
    ]


class Shops:
    """Runs the shops for `seconds`; `heard` is called with a region's books whenever it speaks."""

    def __init__(
        self, environ: Mapping[str, str], seconds: float, seed: int, heard: Callable[[str, Emission], None]
    ) -> None:
        self._environ = environ
        self._seconds = seconds
        self._seed = seed
        self._heard = heard
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Start them all. The incident lasts from a quarter to three quarters of the run."""
        for region in REGIONS:
            words = ["--region", region, "--seconds", str(self._seconds), "--seed", str(self._seed)]
            if region == INCIDENT_REGION:
                words += ["--incident-from", str(self._seconds / 4), "--incident-to", str(self._seconds * 3 / 4)]
            self._children[region] = child.start("streamgauge.console.shop", words, self._environ, subprocess.PIPE)
            self._readers.append(asyncio.create_task(self._listen(region)))

    async def _listen(self, region: str) -> None:
        output = self._children[region].stdout
        while output is not None and (line := await asyncio.to_thread(output.readline)):
            if (said := parse_line(line)) is not None and "emitted" in said:
                self._heard(region, emission_of_line(said))

    async def wait(self) -> None:
        """Until all have closed by themselves. Cancelling this leaves them, and what they say, alone."""
        await asyncio.wait(self._readers)

    async def close(self) -> None:
        """Close those that are open; they send what they have and say their last line."""
        for one in self._children.values():
            if one.poll() is None:
                one.terminate()
        with_time = asyncio.gather(*self._readers, return_exceptions=True)
        try:
            await asyncio.wait_for(with_time, 4.0)
        except TimeoutError:
            for one in self._children.values():
                one.kill()
        for one in self._children.values():
            await asyncio.to_thread(child.end, one, 1.0)
