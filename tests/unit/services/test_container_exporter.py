import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from container_exporter.collector import Containers

ID = "ab" * 32
OTHER = "cd" * 32
LAYOUTS = {
    "v1-cgroupfs": (1, f"/docker/{ID}"),
    "v1-systemd": (1, f"/system.slice/docker-{ID}.scope"),
    "v1-nested": (1, f"/machine/abc/docker/{ID}"),
    "v2-cgroupfs": (2, f"/docker/{ID}"),
    "v2-systemd": (2, f"/system.slice/docker-{ID}.scope"),
}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def cgroup(root: Path, version: int, path: str) -> None:
    """Files of one cgroup: 1.5 s of CPU, 1000 bytes used, 300 of them inactive files."""
    if version == 1:
        write(root / "cpuacct" / path[1:] / "cpuacct.usage", "1500000000\n")
        write(root / "memory" / path[1:] / "memory.usage_in_bytes", "1000\n")
        write(root / "memory" / path[1:] / "memory.stat", "inactive_file 1\ntotal_inactive_file 300\n")
    else:
        write(root / "cgroup.controllers", "cpu memory\n")
        write(root / path[1:] / "cpu.stat", "usage_usec 1500000\nuser_usec 1\n")
        write(root / path[1:] / "memory.current", "1000\n")
        write(root / path[1:] / "memory.stat", "anon 1\ninactive_file 300\n")


def container(folder: Path, id: str = ID, running: bool = True, memory: int = 4096) -> None:
    """Files of the engine for one container."""
    labels = {"com.docker.compose.service": "redis", "com.docker.compose.project": "lookout"}
    config = {
        "ID": id,
        "Name": "/lookout-redis-1",
        "Config": {"Image": "redis:8", "Labels": labels},
        "State": {"Running": running, "StartedAt": "2026-11-21T10:00:00.123456789Z"},
    }
    write(folder / id / "config.v2.json", json.dumps(config))
    write(folder / id / "hostconfig.json", json.dumps({"Memory": memory}))


def scrape(host: Path) -> tuple[CollectorRegistry, Containers, list[str]]:
    log: list[str] = []
    containers = Containers(host / "cgroup", host / "containers", log.append)
    registry = CollectorRegistry()
    registry.register(containers)
    return registry, containers, log


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_container_is_measured_in_every_layout(tmp_path: Path, layout: str) -> None:
    version, path = LAYOUTS[layout]
    cgroup(tmp_path / "cgroup", version, path)
    container(tmp_path / "containers")
    registry, containers, log = scrape(tmp_path)
    labels = {
        "id": path,
        "name": "lookout-redis-1",
        "image": "redis:8",
        "container_label_com_docker_compose_service": "redis",
        "container_label_com_docker_compose_project": "lookout",
    }
    value = registry.get_sample_value
    assert value("container_cpu_usage_seconds_total", {**labels, "cpu": "total"}) == 1.5
    assert value("container_memory_usage_bytes", labels) == 1000
    assert value("container_memory_working_set_bytes", labels) == 700
    assert value("container_spec_memory_limit_bytes", labels) == 4096
    assert value("container_start_time_seconds", labels) == pytest.approx(1795255200.123456)
    assert (value("container_last_seen", labels) or 0) > 1.7e9
    assert value("container_scrape_error") == 0
    assert containers.check() is None
    assert log == []


def test_a_container_that_does_not_run_is_left_out(tmp_path: Path) -> None:
    cgroup(tmp_path / "cgroup", 2, f"/docker/{ID}")
    container(tmp_path / "containers", running=False)
    registry, _containers, log = scrape(tmp_path)
    assert {m.name for m in registry.collect() if m.samples} == {"container_scrape_error"}
    assert log == []


def test_a_container_started_later_is_found(tmp_path: Path) -> None:
    cgroup(tmp_path / "cgroup", 2, f"/docker/{ID}")
    container(tmp_path / "containers")
    registry, _containers, _log = scrape(tmp_path)
    list(registry.collect())
    cgroup(tmp_path / "cgroup", 2, f"/docker/{OTHER}")
    container(tmp_path / "containers", OTHER)
    (found,) = (m for m in registry.collect() if m.name == "container_last_seen")
    assert [sample.labels["id"] for sample in found.samples] == [f"/docker/{ID}", f"/docker/{OTHER}"]


def test_what_cannot_be_read_is_told_and_the_rest_is_measured(tmp_path: Path) -> None:
    cgroup(tmp_path / "cgroup", 2, f"/docker/{ID}")
    container(tmp_path / "containers")
    container(tmp_path / "containers", OTHER)
    registry, _containers, log = scrape(tmp_path)
    (found,) = (m for m in registry.collect() if m.name == "container_last_seen")
    assert [sample.labels["id"] for sample in found.samples] == [f"/docker/{ID}"]
    assert registry.get_sample_value("container_scrape_error") == 1
    assert log[0] == "lookout-redis-1: no cgroup found"


def test_a_broken_file_of_the_engine_is_named(tmp_path: Path) -> None:
    cgroup(tmp_path / "cgroup", 2, f"/docker/{ID}")
    write(tmp_path / "containers" / ID / "config.v2.json", "{")
    registry, containers, log = scrape(tmp_path)
    assert registry.get_sample_value("container_scrape_error") == 1
    assert log[0].startswith(f"{ID}: JSONDecodeError")
    assert (containers.check() or "").startswith(ID)


def test_a_missing_mount_is_unhealthy_and_not_an_empty_success(tmp_path: Path) -> None:
    registry, containers, _log = scrape(tmp_path)
    assert "No such file" in (containers.check() or "")
    with pytest.raises(OSError, match="No such file"):
        list(registry.collect())
