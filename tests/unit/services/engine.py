"""A simulated engine: the list of containers over HTTP on a socket file, and what it was asked; the proxy on top."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Thread
from typing import Any

from engine_proxy.__main__ import handler


def container(name: str = "billing-1", **labels: str) -> dict[str, Any]:
    """A running container as engine 20.10 lists it; labels without their prefix, underscores for dots of others."""
    told = {"service": "billing", "port": "9400", "team": "payments", **labels}
    return {
        "Id": (name * 64)[:64],
        "Names": [f"/{name}"],
        "Image": "shop/billing:7",
        "Command": "serve --password hunter2",
        "Created": 1795255200,
        "State": "running",
        "Labels": {f"lookout.{key}": value for key, value in told.items() if value} | {"com.example.secret": "hunter2"},
        "NetworkSettings": {"Networks": {"lookout_guests": {"IPAddress": "172.20.0.9", "Aliases": None}}},
        "Mounts": [{"Source": "/srv/secret", "Destination": "/run/secret"}],
    }


class Engine:
    """What the engine answers, and the requests that it got."""

    def __init__(self) -> None:
        self.containers: list[dict[str, Any]] = []
        self.status = 200
        self.asked: list[str] = []


class _SocketServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[Any, Any]:
        request, _address = super().get_request()
        return request, ("engine", 0)


@contextmanager
def simulated() -> Iterator[tuple[Engine, str]]:
    """An engine and the path of its socket."""
    engine = Engine()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            engine.asked.append(f"{self.command} {self.path}")
            body = json.dumps(engine.containers).encode()
            self.send_response(engine.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    # Not in pytest's folder: the path of a socket can have 107 characters only.
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        path = str(Path(folder) / "docker.sock")
        with _SocketServer(path, Answers) as server, serving(server):
            yield engine, path


@contextmanager
def proxied() -> Iterator[tuple[Engine, int]]:
    """An engine and the port of the proxy in front of it."""
    with simulated() as (engine, path), ThreadingHTTPServer(("127.0.0.1", 0), handler(path)) as proxy, serving(proxy):
        yield engine, proxy.server_address[1]


@contextmanager
def serving(server: Any) -> Iterator[None]:
    """Serves until the end of the block."""
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
