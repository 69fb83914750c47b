"""Conformance: a local image has the user, paths, port and entrypoint of upstream's. Runs on whichever is there.

`images` tells which that is.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace

import pytest

from lookout import cli, engine, project
from lookout.images import Choice
from lookout.model import load
from lookout.project import Project
from lookout.render import ROOT, ImageUse

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Layout:
    """What the bundle takes of an image: how it is started, as whom, where its data lie, which programs it has."""

    entrypoint: str | None
    port: int | None
    user: int
    data: str | None = None
    programs: tuple[str, ...] = ()
    account: str | None = None
    """The name of ``user`` in an image whose entrypoint may begin as root, and goes on as that one."""


UPSTREAM = {
    "prometheus": Layout("/bin/prometheus", 9090, 65534, "/prometheus", ("/bin/promtool",)),
    "alertmanager": Layout("/bin/alertmanager", 9093, 65534, "/alertmanager", ("/bin/amtool",)),
    "grafana": Layout("/run.sh", 3000, 472, "/var/lib/grafana"),
    "loki": Layout("/usr/bin/loki", 3100, 10001, "/loki"),
    "promtail": Layout("/usr/bin/promtail", None, 0),
    "jaeger": Layout("/cmd/jaeger/jaeger-linux", 16686, 10001),
    "tempo": Layout("/tempo", None, 10001, "/var/tempo"),
    "otel-collector": Layout("/otelcol-contrib", 4317, 10001),
    "node-exporter": Layout("/bin/node_exporter", 9100, 65534),
    "blackbox-exporter": Layout("/bin/blackbox_exporter", 9115, 0),
    "postgres-exporter": Layout("/bin/postgres_exporter", 9187, 65534),
    "redis-exporter": Layout("/redis_exporter", 9121, 59000),
    "postgres": Layout("docker-entrypoint.sh", 5432, 999, "/var/lib/postgresql", ("postgres",), "postgres"),
    "redis": Layout("docker-entrypoint.sh", 6379, 999, "/data", ("redis-server",), "redis"),
}
"""Image of the model → how the upstream image is laid out."""

OTHERWISE = {
    "otel-collector": UPSTREAM["jaeger"],
    "redis": replace(UPSTREAM["redis"], entrypoint=None),
}
"""Image of the model → how its recipe is laid out, where that is not like upstream (docs/images.md)."""

NOT_COVERED = {
    "cadvisor": "the recipe is a program of ours in the image `services`, and shares nothing with upstream's",
    "debian": "a base, from which nothing runs",
}


def test_every_image_that_upstream_has_is_compared_or_named() -> None:
    referred = {name for name, image in load([ROOT / "stack.yaml"]).images.items() if image.reference}
    assert referred == UPSTREAM.keys() | NOT_COVERED.keys()


@pytest.mark.parametrize("name", sorted(UPSTREAM))
def test_the_image_is_laid_out_like_the_upstream_one(stack: Project, every_image: dict[str, Choice], name: str) -> None:
    use = every_image[name].use
    if use is None:
        pytest.skip(f"the image {name} cannot be had: {every_image[name].why}")
    layout = OTHERWISE.get(name, UPSTREAM[name]) if use.built else UPSTREAM[name]
    config = json.loads(engine.run("image", "inspect", use.reference).stdout)[0]["Config"]
    assert config["Entrypoint"] == (layout.entrypoint and [layout.entrypoint])
    if layout.port:
        assert f"{layout.port}/tcp" in config["ExposedPorts"]
    user = {"": "0", "nobody": "65534"}.get(config["User"], config["User"].split(":")[0])
    if layout.account:
        assert user in {"0", str(layout.user)}
        assert once(use, "id", "-u", layout.account).strip() == str(layout.user)
    else:
        assert user == str(layout.user)
    if layout.data:
        container = stack.compose.containers()[name]["Id"]
        services = project.images_of(stack.folder)["services"].reference
        asked = ["python", "-c", f"import os; print(os.stat({layout.data!r}).st_uid)"]
        seen = engine.run("run", "--rm", "--network", "none", "--volumes-from", f"{container}:ro", services, *asked)
        assert seen.stdout.strip() == str(layout.user), f"{layout.data} belongs to {seen.stdout.strip()}"
    for program in layout.programs:
        assert once(use, program, "--version")


def once(use: ImageUse, program: str, *arguments: str) -> str:
    """What a program of an image says, which must end with 0."""
    done = engine.run("run", "--rm", "--network", "none", "--entrypoint", program, use.reference, *arguments)
    return done.stdout + done.stderr


def test_every_image_of_a_running_container_is_the_one_chosen(stack: Project) -> None:
    chosen = project.images_of(stack.folder)
    containers = stack.compose.containers()
    for name, server in stack.stack.running.items():
        assert containers[name]["Config"]["Image"] == chosen[server.image].reference


def test_images_says_which_one_each_server_would_run_from_and_why(
    stack: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load([ROOT / "stack.yaml"])
    assert cli.main(["images", "--images", os.environ.get("IMAGES", "auto")]) == 0
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    for image in {server.image for server in model.running.values()}:
        assert re.fullmatch(rf"{image} +(store|to pull|to build|missing) +\S+ +\S.*", said[image])
    chosen = project.images_of(stack.folder)
    for image in said.keys() & chosen.keys():
        used, recipe = chosen[image].reference, f"compose/images/{model.images[image].recipe}"
        assert used in said[image] or f"if it cannot be pulled: built before from {recipe}" in said[image]
