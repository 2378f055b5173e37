"""Socket drops: what the kernel threw away because a UDP socket's buffer was full. Linux says so, others do not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

TABLES = (Path("/proc/net/udp"), Path("/proc/net/udp6"))
_INODE, _DROPS = 9, 12


def drops_of(table: str, inode: int) -> int | None:
    """Drops of the socket with this inode, in the text of `/proc/net/udp`; None when it is not there."""
    for line in table.splitlines()[1:]:
        cells = line.split()
        if len(cells) > _DROPS and cells[_INODE] == str(inode) and cells[_DROPS].isdecimal():
            return int(cells[_DROPS])
    return None


def read_drops(own: socket.socket) -> int | None:
    """Drops of a UDP socket since it was opened; None where nobody says."""
    try:
        inode = os.fstat(own.fileno()).st_ino
        table = TABLES[own.family == socket.AF_INET6]
        return drops_of(table.read_text(encoding="ascii"), inode)
    except (OSError, UnicodeDecodeError):
        return None
