"""A Redis of a test's own, from the image that the bundle runs; for tests that need more than a stand-in."""

from __future__ import annotations

import socket
import uuid

from lookout import engine, images
from lookout.model import load
from lookout.render import ROOT
from lookout.verify.polling import NotYet, poll_until
from tests.ports import free_ports


class RedisServer:
    """A container on a free port, with its data in a volume; what it said is on disk before it answers."""

    def __init__(self) -> None:
        [self._port] = free_ports(1)
        self._name = f"lookout-test-redis-{uuid.uuid4().hex[:12]}"

    @property
    def url(self) -> str:
        """For REDIS_URL."""
        return f"redis://127.0.0.1:{self._port}/0"

    def run(self) -> None:
        """Make the container, and wait until it answers."""
        engine.run(
            "run", "--detach", "--name", self._name, "--publish", f"127.0.0.1:{self._port}:6379", "--user", "999:999",
            "--volume", "/data", _image(), "redis-server", "--bind", "0.0.0.0", "--protected-mode", "no",
            "--dir", "/data", "--appendonly", "yes", "--appendfsync", "always", "--save", "",
        )  # fmt: skip
        self._answered()

    def start(self) -> None:
        """Start it again after ``kill``, and wait until it answers."""
        engine.run("start", self._name)
        self._answered()

    def kill(self) -> None:
        """SIGKILL."""
        engine.run("kill", self._name)

    def remove(self) -> None:
        """Its end, and that of its data."""
        engine.run("rm", "--force", "--volumes", self._name)

    def _answered(self) -> None:
        def ask() -> None:
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(64).startswith(b"+PONG"):
                        return
            except OSError as error:
                raise NotYet(str(error)) from error
            raise NotYet("it does not answer PING")

        poll_until(ask, "Redis", within=30, every=0.05)


def _image() -> str:
    stack = load([ROOT / "stack.yaml"])
    image = stack.images["redis"]
    assert image.reference is not None
    assert image.recipe is not None
    found = image.reference if engine.has_image(image.reference) else images.built(stack, image.recipe, "auto")
    assert found, "no image of Redis is in the engine's store: `make test` obtains it first"
    return found
