"""Answers ``GET /containers/json`` on PORT, and 403 to every other method, path and query.

Whoever can speak to the engine's socket controls the machine, however it is mounted. So this container alone mounts
it (at /var/run/docker.sock), asks it one fixed question, and hands on only what the discoverer needs of the answer:
of the running containers labelled ``lookout.service`` the id, the names, the start of their life, the names of their
networks and the labels ``lookout.*``. No environment, command, mount or address leaves it. It is this file and
bare_server, on the standard library alone: what holds the socket should be small enough to be read.
"""

import json
import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote

from bare_server import serve, write_line

SERVICE = "engine-proxy"
SOCKET = "/var/run/docker.sock"
ANSWERED = "/containers/json"
PREFIX = "lookout."
QUESTION = f"{ANSWERED}?filters=" + quote(json.dumps({"label": [f"{PREFIX}service"], "status": ["running"]}))
ENGINE_SECONDS = 1.2
"""Time that the engine has, shorter than a try of the health probe: a slow engine is told, and ends nothing here."""
MAX_BODY_BYTES = 64 * 1024


class _Engine(HTTPConnection):
    """A connection to the engine through its socket."""

    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=ENGINE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def listed(path: str) -> list[dict[str, Any]]:
    """The labelled containers, reduced. Raises OSError or HTTPException without an answer, ValueError for another."""
    engine = _Engine(path)
    try:
        engine.request("GET", QUESTION)
        answer = engine.getresponse()
        body = answer.read()
    finally:
        engine.close()
    if answer.status != 200:
        raise ValueError(f"the engine answered {answer.status}")
    return [reduced(container) for container in json.loads(body)]


def reduced(container: dict[str, Any]) -> dict[str, Any]:
    """What leaves this container of one entry of the engine's list, under the engine's own names."""
    labels = {name: value for name, value in container["Labels"].items() if name.startswith(PREFIX)}
    networks = dict.fromkeys(container["NetworkSettings"]["Networks"])
    kept = {name: container[name] for name in ("Id", "Names", "Created")}
    return {**kept, "Labels": labels, "NetworkSettings": {"Networks": networks}}


def handler(path: str) -> type[BaseHTTPRequestHandler]:
    """The request handler for the engine at one socket."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def __getattr__(self, name: str) -> Callable[[], None]:
            """Every method that is not defined below is refused like any other thing, known to HTTP or not."""
            if name.startswith("do_"):
                return self._refuse
            raise AttributeError(name)

        def do_GET(self) -> None:
            if self.path != ANSWERED:
                self._refuse()
                return
            try:
                self._answer(200, listed(path))
            except TimeoutError:
                self._failed(504, f"the engine did not answer in {ENGINE_SECONDS} s")
            except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
                self._failed(502, f"the engine cannot be asked: {type(error).__name__}: {error}")

        def log_message(self, format: str, *args: object) -> None:
            """No access lines: the discoverer asks every few seconds."""

        def _refuse(self) -> None:
            # What is left unread would reset the connection before the answer is read.
            length = self.headers.get("Content-Length", "")
            self.rfile.read(min(int(length[:9]), MAX_BODY_BYTES) if length.isdecimal() else 0)
            refused = f"refused {self.command} {self.path[:200]} from {self.client_address[0]}"
            write_line(SERVICE, refused, "warning")
            self._answer(403, {"message": f"only GET {ANSWERED} is answered here"})

        def _failed(self, status: int, why: str) -> None:
            write_line(SERVICE, why, "error")
            self._answer(status, {"message": why})

        def _answer(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


if __name__ == "__main__":
    serve(SERVICE, handler(SOCKET))
