"""Conformance: a local image has the user, paths and entrypoint of the upstream one. Runs on whichever is there."""

from __future__ import annotations

import json

import pytest

from lookout import engine, project
from lookout.project import Project

pytestmark = pytest.mark.integration

UPSTREAM = {
    "prometheus": ("/bin/prometheus", ["/bin/promtool"], 9090),
    "alertmanager": ("/bin/alertmanager", ["/bin/amtool"], 9093),
    "loki": ("/usr/bin/loki", [], 3100),
    "promtail": ("/usr/bin/promtail", [], None),
    "jaeger": ("/cmd/jaeger/jaeger-linux", [], 16686),
    "tempo": ("/tempo", [], None),
    "node-exporter": ("/bin/node_exporter", [], 9100),
    "blackbox-exporter": ("/bin/blackbox_exporter", [], 9115),
    "postgres-exporter": ("/bin/postgres_exporter", [], 9187),
    "redis-exporter": ("/redis_exporter", [], 9121),
}
"""Image of the model → (entrypoint, other programs, exposed port) of the upstream image."""


@pytest.mark.parametrize("name", sorted(UPSTREAM))
def test_the_image_is_laid_out_like_the_upstream_one(stack: Project, name: str) -> None:
    use = project.images_of(stack.folder).get(name)
    if use is None:
        assert name not in {server.image for server in stack.stack.running.values()}
        pytest.skip(f"the image {name} is not used on this machine")
    entrypoint, programs, port = UPSTREAM[name]
    config = json.loads(engine.run("image", "inspect", use.reference).stdout)[0]["Config"]
    assert config["Entrypoint"] == [entrypoint]
    if port:
        assert f"{port}/tcp" in config["ExposedPorts"]
    for program in programs:
        done = engine.run("run", "--rm", "--network", "none", "--entrypoint", program, use.reference, "--version")
        assert "version" in done.stdout + done.stderr


def test_every_image_of_a_running_container_is_the_one_chosen(stack: Project) -> None:
    chosen = project.images_of(stack.folder)
    containers = stack.compose.containers()
    for name, server in stack.stack.running.items():
        assert containers[name]["Config"]["Image"] == chosen[server.image].reference
