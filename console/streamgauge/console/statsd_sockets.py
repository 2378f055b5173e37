"""StatsD sockets: UDP and Unix datagrams. They hand over bytes and decide nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path

from streamgauge.console.gateway_settings import Address
from streamgauge.schemas.errors import InputError

MAX_PACKET = 256 << 10
PACKETS_A_TURN = 256
FOR_ALL = 0o722
"""Every user of the machine may send, as over loopback; nobody else may read."""
Take = Callable[[bytes], None]
TakeFrom = Callable[[bytes, Hashable], None]
"""Takes a packet, and who sent it."""
Refuse = Callable[[str], None]


def open_udp(address: Address, buffer: int) -> socket.socket:
    """A UDP socket that is bound. Raises InputError."""
    try:
        family, kind, number, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)[0]
        own = socket.socket(family, kind, number)
    except OSError as error:
        raise cannot(str(address), error) from error
    return _bound(own, where, str(address), buffer)


def open_unix(path: str, buffer: int) -> socket.socket:
    """A Unix datagram socket that is bound; a path that a dead process left is taken over. Raises InputError."""
    clear(path, socket.SOCK_DGRAM)
    own = _bound(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), path, path, buffer)
    Path(path).chmod(FOR_ALL)
    return own


def _bound(own: socket.socket, where: object, said: str, buffer: int) -> socket.socket:
    try:
        own.setblocking(False)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        own.bind(where)  # type: ignore[arg-type]  # an address of the socket's family
    except OSError as error:
        own.close()
        raise cannot(said, error) from error
    return own


def clear(path: str, kind: int) -> None:
    """Remove a socket that nobody listens on. Raises InputError when somebody does, or when it is no socket."""
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            raise InputError(f"{path}: this is a file, not a socket. Choose another path.")
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot(path, error) from error
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with suppress(OSError):
                Path(path).unlink()
            return
        except OSError as error:
            raise cannot(path, error) from error
    raise InputError(f"{path}: somebody listens here already. End that process, or choose another path.")


def cannot(where: str, error: OSError) -> InputError:
    """What to raise where nobody can listen."""
    return InputError(f"{where}: cannot listen here ({error.strerror or os.strerror(error.errno or errno.EINVAL)}).")


class Datagrams:
    """A datagram socket that is read by the event loop. `buffer` is what the kernel really gives."""

    def __init__(self, own: socket.socket, take: TakeFrom, refuse: Refuse) -> None:
        self._take = take
        self._refuse = refuse
        self._space = bytearray(MAX_PACKET)
        self._view = memoryview(self._space)
        self._path = str(own.getsockname()) if own.family == socket.AF_UNIX else ""
        self.socket = own
        self.buffer = own.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def start(self) -> None:
        """Begin to read."""
        asyncio.get_running_loop().add_reader(self.socket.fileno(), self.drain)

    def drain(self, packets: int = PACKETS_A_TURN) -> int:
        """Hand over what has come, at most so many packets; returns how many."""
        for taken in range(packets):
            try:
                size, source = self.socket.recvfrom_into(self._space)
            except (BlockingIOError, InterruptedError):
                return taken
            except OSError:
                self._refuse("socket_error")
                return taken
            if size >= MAX_PACKET:
                self._refuse("packet_too_large")
            else:
                self._take(bytes(self._view[:size]), source)
        return packets

    def close(self) -> None:
        """Take what has come already, and stop."""
        asyncio.get_running_loop().remove_reader(self.socket.fileno())
        for _ in range(64):
            if self.drain() < PACKETS_A_TURN:
                break
        self.socket.close()
        remove(self._path)


def remove(path: str) -> None:
    """Remove a socket of ours, if there is one."""
    if path:
        with suppress(OSError):
            Path(path).unlink()
