"""What one client may take of a service: a bounded part of its memory, nothing from the others; and for how long."""

import re
import select
import socket
from pathlib import Path

import httpx
import pytest

from telemetry.client import KEEP_ALIVE_SECONDS
from tests.ports import free_ports
from tests.unit.services.processes import Process, running

MEBIBYTE = 2**20
SENT = 16 * MEBIBYTE
MAY_GROW = 4 * MEBIBYTE
SERVICE = "from telemetry import run; run(lambda telemetry: telemetry.app([]))"
CHUNKED = b"POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
ENDLESS = {
    "a header": (b"GET / HTTP/1.1\r\nhost: shop\r\nx: ", b"a" * 65536),
    "headers": (b"GET / HTTP/1.1\r\nhost: shop\r\n", b"x: a\r\n" * 10000),
    "a path": (b"GET /", b"a" * 65536),
    "trailers": (CHUNKED, b"x: a\r\n" * 10000),
    "requests without a wait": (b"", b"GET /live HTTP/1.1\r\nhost: shop\r\n\r\n" * 2000),
}
"""What is sent: a beginning, and what follows again and again."""


def resident(process: Process) -> int:
    """Bytes."""
    found = re.search(r"^process_resident_memory_bytes{.*} (\S+)$", process.client.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


@pytest.mark.parametrize(("begins", "goes_on"), ENDLESS.values(), ids=ENDLESS)
def test_a_client_that_sends_without_end_costs_a_bounded_memory(tmp_path: Path, begins: bytes, goes_on: bytes) -> None:
    [port] = free_ports(1)
    with running(tmp_path, ["-c", SERVICE], port) as process:
        before = resident(process)
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            try:
                client.sendall(begins)
                for _ in range(SENT // len(goes_on)):
                    client.sendall(goes_on)
                sent_all = True
            except (TimeoutError, ConnectionError):
                # It takes no more, or has closed the connection.
                sent_all = False
            # Others are answered meanwhile.
            assert resident(process) < before + MAY_GROW
        assert not sent_all


def test_an_idle_connection_is_kept_for_longer_than_clients_use_it_again(tmp_path: Path) -> None:
    usual = httpx.Limits().keepalive_expiry
    assert usual is not None
    assert usual > KEEP_ALIVE_SECONDS
    [port] = free_ports(1)
    with running(tmp_path, ["-c", SERVICE], port), socket.create_connection(("127.0.0.1", port), timeout=1) as client:
        client.sendall(b"GET /live HTTP/1.1\r\nhost: shop\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        # It is readable when the server closes it, and when more of the answer comes.
        ended = [client.recv(65536) for _ in range(2) if select.select([client], [], [], usual + 0.5)[0]]
        assert b"" not in ended
