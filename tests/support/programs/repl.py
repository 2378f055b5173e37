"""Cells of a notebook, or lines at a prompt: one interpreter that goes on after errors."""

import code
import contextlib
import io

LINES = (
    "from streamgauge.producers import Counter",
    'CALLS = Counter("calls", "", ["who"])',
    'CALLS.labels("cell").inc()',
    "1 / 0",
    'CALLS = Counter("calls", "", ["who"])',
    'CALLS.labels("cell").inc()',
)

shell = code.InteractiveInterpreter()
for line in LINES:
    with contextlib.redirect_stderr(io.StringIO()):
        shell.runsource(line)
