"""Conformance: a local image has the user, paths, port and entrypoint of upstream's. Runs on whichever is there."""

from __future__ import annotations

import json

import pytest

from lookout import engine, project
from lookout.project import Project

pytestmark = pytest.mark.integration

UPSTREAM = {
    "prometheus": ("/bin/prometheus", ["/bin/promtool"], 9090, 65534, "/prometheus"),
    "alertmanager": ("/bin/alertmanager", ["/bin/amtool"], 9093, 65534, "/alertmanager"),
    "grafana": ("/run.sh", [], 3000, 472, "/var/lib/grafana"),
    "loki": ("/usr/bin/loki", [], 3100, 10001, "/loki"),
    "promtail": ("/usr/bin/promtail", [], None, 0, None),
    "jaeger": ("/cmd/jaeger/jaeger-linux", [], 16686, 10001, None),
    "tempo": ("/tempo", [], None, 10001, "/var/tempo"),
    "node-exporter": ("/bin/node_exporter", [], 9100, 65534, None),
    "blackbox-exporter": ("/bin/blackbox_exporter", [], 9115, 0, None),
    "postgres-exporter": ("/bin/postgres_exporter", [], 9187, 65534, None),
    "redis-exporter": ("/redis_exporter", [], 9121, 59000, None),
}
"""Image of the model → (entrypoint, other programs, exposed port, user, folder of its data) of the upstream image.

The recipes of postgres and redis, and what takes the place of cadvisor and otel-collector, are laid out otherwise:
docs/images.md.
"""


@pytest.mark.parametrize("name", sorted(UPSTREAM))
def test_the_image_is_laid_out_like_the_upstream_one(stack: Project, name: str) -> None:
    use = project.images_of(stack.folder).get(name)
    if use is None:
        assert name not in {server.image for server in stack.stack.running.values()}
        pytest.skip(f"the image {name} is not used on this machine")
    entrypoint, programs, port, user, data = UPSTREAM[name]
    config = json.loads(engine.run("image", "inspect", use.reference).stdout)[0]["Config"]
    assert config["Entrypoint"] == [entrypoint]
    if port:
        assert f"{port}/tcp" in config["ExposedPorts"]
    assert {"": 0, "nobody": 65534}.get(config["User"]) == user or config["User"].split(":")[0] == str(user)
    if data:
        container = stack.compose.containers()[name]["Id"]
        services = project.images_of(stack.folder)["services"].reference
        asked = ["python", "-c", f"import os; print(os.stat({data!r}).st_uid)"]
        seen = engine.run("run", "--rm", "--network", "none", "--volumes-from", f"{container}:ro", services, *asked)
        assert seen.stdout.strip() == str(user), f"{data} belongs to {seen.stdout.strip()}"
    for program in programs:
        done = engine.run("run", "--rm", "--network", "none", "--entrypoint", program, use.reference, "--version")
        assert "version" in done.stdout + done.stderr


def test_every_image_of_a_running_container_is_the_one_chosen(stack: Project) -> None:
    chosen = project.images_of(stack.folder)
    containers = stack.compose.containers()
    for name, server in stack.stack.running.items():
        assert containers[name]["Config"]["Image"] == chosen[server.image].reference
