"""Sockets of the gateway: what has arrived is taken, and what the kernel drops is known."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from streamgauge.console.gateway_settings import Address, GatewaySettings, address, socket_path
from streamgauge.console.socket_drops import drops_of, read_drops
from streamgauge.console.statsd_sockets import MAX_PACKET, Datagrams, open_udp, open_unix
from streamgauge.schemas.errors import InputError, SettingsError

TABLE = """   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  305: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 77 2 0000000000000000 0
  306: 0100007F:1FBE 00000000:0000 07 00000000:00021F00 00:00000000 00000000  1000        0 4711 2 0000000000000000 52
"""


def test_drops_are_those_of_the_sockets_own_line() -> None:
    assert (drops_of(TABLE, 4711), drops_of(TABLE, 77), drops_of(TABLE, 5)) == (52, 0, None)


@pytest.mark.skipif(not Path("/proc/net/udp").exists(), reason="only Linux says what it drops")
def test_a_socket_of_this_process_is_found_in_the_kernels_table() -> None:
    with open_udp(Address("127.0.0.1", 0), 4096) as own:
        assert read_drops(own) == 0


async def test_what_has_arrived_when_a_socket_is_closed_is_taken(tmp_path: Path) -> None:
    taken: list[bytes] = []
    refused: list[str] = []
    path = str(tmp_path / "s")
    for own, where in ((open_udp(Address("127.0.0.1", 0), 1 << 20), None), (open_unix(path, 1 << 20), path)):
        one = Datagrams(own, lambda packet, _: taken.append(packet), refused.append)
        one.start()
        with socket.socket(own.family, socket.SOCK_DGRAM) as sender:
            for i in range(8):
                sender.sendto(b"%d" % i, where or own.getsockname())
        one.close()

    assert taken == [b"%d" % i for i in range(8)] * 2
    assert refused == []
    assert not os.path.exists(path)  # noqa: ASYNC240  # nothing else runs in this loop


async def test_a_packet_that_is_larger_than_any_is_refused(tmp_path: Path) -> None:
    taken: list[bytes] = []
    refused: list[str] = []
    path = str(tmp_path / "s")
    one = Datagrams(open_unix(path, 4 << 20), lambda packet, _: taken.append(packet), refused.append)
    one.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        try:
            sender.sendto(b"x" * (MAX_PACKET + 1), path)
        except OSError:
            one.close()
            pytest.skip("this kernel sends no packet of that size")
        sender.sendto(b"a:1|c", path)
    one.close()

    assert (taken, refused) == ([b"a:1|c"], ["packet_too_large"])


def test_a_file_is_never_taken_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("mine")

    with pytest.raises(InputError, match="this is a file"):
        open_unix(str(path), 4096)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("127.0.0.1:8125", Address("127.0.0.1", 8125)),
        ("[::1]:0", Address("::1", 0)),
        ("none", None),
        ("", None),
    ],
)
def test_an_address_is_a_host_and_a_port_or_none(text: str, read: Address | None) -> None:
    assert address(text) == read
    if read:
        assert address(str(read)) == read


@pytest.mark.parametrize("text", ["8125", "host", ":8125", "host:99999", "host:x", "host:1/x"])
def test_what_is_no_address_is_told_how_one_looks(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        address(text)


def test_a_path_that_no_kernel_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="100 bytes"):
        socket_path("x" * 101)


def test_a_gateway_that_listens_nowhere_does_not_start() -> None:
    with pytest.raises(SettingsError, match="nothing to listen on"):
        GatewaySettings(statsd_udp=None, gateway_http=None).check()
