"""The line of the fault tests: it refuses, cuts, holds back and is slow, and afterwards passes everything on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.kafka import HOST
from tests.support.line import Line


@pytest.fixture
def line() -> Iterator[Line]:
    """A line to somebody who says everything again."""
    with socket.create_server((HOST, 0)) as server, Line() as one:
        one.target = server.getsockname()[1]
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        yield one


def echo(server: socket.socket) -> None:
    """Serves one connection at a time, until the server is closed."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
            except OSError:
                continue


def connect(line: Line) -> socket.socket:
    """A client's end."""
    return socket.create_connection((HOST, line.port), timeout=10)


def said(end: socket.socket, data: bytes) -> bytes:
    """What comes back, as much as was sent."""
    end.sendall(data)
    found = b""
    while len(found) < len(data):
        found += end.recv(1 << 16)
    return found


def test_what_goes_in_comes_out(line: Line) -> None:
    data = bytes(range(256)) * 1_000
    with connect(line) as end:
        assert said(end, data) == data


def test_a_cut_breaks_every_connection_and_new_ones_are_taken(line: Line) -> None:
    with connect(line) as end:
        assert said(end, b"a") == b"a"
        assert line.cut() == 1
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    with connect(line) as end:
        assert said(end, b"b") == b"b"


def test_while_it_refuses_the_old_connection_stays_and_no_new_one_is_taken(line: Line) -> None:
    with connect(line) as end:
        assert said(end, b"a") == b"a"
        line.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(line)
        assert said(end, b"b") == b"b"
    line.mend()
    with connect(line) as end:
        assert said(end, b"c") == b"c"


def test_what_is_held_back_arrives_when_it_is_mended(line: Line) -> None:
    with connect(line) as end:
        assert said(end, b"a") == b"a"
        line.hold()
        end.sendall(b"late")
        end.settimeout(0.2)
        with pytest.raises(TimeoutError):
            end.recv(1)
        end.settimeout(10)
        line.mend()
        assert end.recv(4) == b"late"


def test_a_slow_line_takes_its_time_for_all_connections_together(line: Line) -> None:
    with connect(line) as end:
        assert said(end, b"a") == b"a"
        line.slow(up=40_000)
        begun = time.monotonic()
        assert len(said(end, bytes(20_000))) == 20_000
        assert time.monotonic() - begun > 0.3
        line.mend()
        assert said(end, b"b") == b"b"
