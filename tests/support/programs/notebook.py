"""A notebook: cells in a Jupyter kernel, one of which fails and one of which is run again; then the kernel is shut down."""

import sys
from importlib import import_module
from typing import Any

CELLS = (
    "from streamgauge.producers import Counter",
    'CALLS = Counter("calls", "", ["who"])',
    'CALLS.labels("cell").inc()',
    "1 / 0",
    'CALLS = Counter("calls", "", ["who"])\nCALLS.labels("cell").inc()',
    "import asyncio\nawait asyncio.to_thread(CALLS.labels('thread').inc)",
)
SECONDS = 30

manager: Any
client: Any
manager, client = import_module("jupyter_client.manager").start_new_kernel(
    startup_timeout=SECONDS, kernel_name="python3", extra_arguments=["--HistoryManager.enabled=False"]
)


def quiet(_: object) -> None:
    """Nobody looks at what cells print."""


try:
    statuses = [client.execute_interactive(cell, timeout=SECONDS, output_hook=quiet) for cell in CELLS]
    found = [one["content"]["status"] for one in statuses]
finally:
    client.stop_channels()
    manager.shutdown_kernel()
if found != ["ok", "ok", "ok", "error", "ok", "ok"]:
    sys.exit(f"cells ended as {found}")
