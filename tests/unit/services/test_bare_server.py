import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bare_server import write_line
from tests.ports import free_ports

SERVICES = Path(__file__).parents[3] / "services"
SERVE = "import bare_server, http.server; bare_server.serve('probe', http.server.BaseHTTPRequestHandler)"


def start(port: str) -> subprocess.Popen[str]:
    """A process that serves on a port, or does not."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SERVICES), "PORT": port}
    return subprocess.Popen(
        [sys.executable, "-c", SERVE], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("port", ["", "http", "0", "65536", "00000000080", "-1", "٣"])
def test_a_port_that_cannot_be_is_named_and_ends_with_2(port: str) -> None:
    process = start(port)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (2, f"settings: PORT={port}: is required, and a number from 1 to 65535\n")


def test_it_says_where_it_serves_and_ends_well_when_it_is_stopped() -> None:
    [port] = free_ports(1)
    process = start(str(port))
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert (line["service"], line["message"]) == ("probe", f"starting on port {port}")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_line_has_the_fields_of_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_line("probe", 'half a "word', "error")
    line = json.loads(capsys.readouterr().out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "error", "service": "probe", "logger": "probe", "message": 'half a "word'}
