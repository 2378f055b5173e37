"""Child processes: parts of the embedded mode. A child ends when its parent ends, however that happens.

`python -m streamgauge.console.child MODULE ARGUMENTS…` runs a module and watches its standard input, which the parent
holds open: at its end the child ends itself.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

GRACE_S = 8.0


def start(
    module: str, arguments: Sequence[str], environ: Mapping[str, str], output: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a module in a process group of its own, so that Ctrl-C reaches only the parent, which ends parts in order."""
    command = [sys.executable, "-m", "streamgauge.console.child", module, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, env=dict(environ), start_new_session=True)  # noqa: S603  # our own modules


def end(child: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Ask a child to end; after `timeout_s` it is killed. Returns its exit code."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
    code = child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()
    return code


def _follow_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: Sequence[str]) -> None:
    """Run `arguments[0]` as a main module with the rest as its arguments."""
    threading.Thread(target=_follow_parent, name="follow-parent", daemon=True).start()
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
