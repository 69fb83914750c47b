"""Rendering: pure, whole, strict, and what it leaves out together."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookout import names
from lookout import render as rendering
from lookout.model import Duration, Stack, load
from lookout.model.stack import ONE_SHOT
from lookout.render import FOLDERS, ROOT, ImageUse, as_written, render
from tests.models import valid_models


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load([ROOT / "stack.yaml"])


@pytest.fixture(scope="module")
def compose(stack: Stack) -> dict[str, Any]:
    return dict(yaml.safe_load(render(stack)["compose.yaml"]))


def test_the_same_model_gives_the_same_bytes(stack: Stack) -> None:
    assert render(stack) == render(load([ROOT / "stack.yaml"]))


def test_where_nothing_is_left_out_both_renders_are_equal(stack: Stack) -> None:
    assert render(stack, as_written(stack)) == render(stack)


def test_an_undefined_variable_in_a_template_fails(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in ("prometheus", "compose", "grafana"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "loki").mkdir()
    (tmp_path / "loki" / "loki.yaml.j2").write_text("port: ${{ stack.prot }}\n", encoding="utf-8")
    monkeypatch.setattr(rendering, "ROOT", tmp_path)
    with pytest.raises(jinja2.UndefinedError, match="prot"):
        render(stack)


def test_every_file_names_its_source_and_says_do_not_edit(stack: Stack) -> None:
    for path, text in render(stack).items():
        if not path.endswith(".json"):
            assert "do not edit" in "\n".join(text.splitlines()[:2]), path


def test_no_file_holds_a_time_or_a_path_of_this_machine(stack: Stack) -> None:
    folders = {ROOT.parent, Path.home(), Path(tempfile.gettempdir())} - {Path("/")}
    here = {str(ROOT), *(f"{folder}/" for folder in folders)}
    files = render(stack)
    for now in (datetime.now(), datetime.now(UTC)):
        here |= {f"{now:{form}}" for form in ("%Y-%m-%d", "%Y%m%d", "%b %d", "%d %b")}
        here.add(f"{now.timestamp() // 1000:.0f}")  # Unix seconds, of the last quarter of an hour
    assert not [(path, word) for path, text in files.items() for word in here if word in text]


def test_every_job_of_prometheus_has_its_name_from_one_place(stack: Stack) -> None:
    jobs = {job["job_name"] for job in yaml.safe_load(render(stack)["prometheus/prometheus.yml"])["scrape_configs"]}
    assert jobs == {value for name, value in vars(names).items() if name.startswith("JOB_")}


def test_what_needs_a_server_that_is_left_out_goes_with_it(stack: Stack) -> None:
    without = stack.model_copy(
        update={"servers": {name: server for name, server in stack.servers.items() if name not in ("grafana", "loki")}}
    )
    files = render(without)
    assert not [path for path in files if path.startswith(("grafana/", "loki/"))]
    assert "grafana" not in yaml.safe_load(files["compose.yaml"])["services"]
    assert "grafana" not in files["prometheus/targets/servers.yml"]
    assert not [path for path, text in files.items() if path.startswith("prometheus/") and "dashboard_url" in text]
    assert "grafana_admin" not in files["bootstrap.sh"]


def test_every_alert_leads_to_its_runbook_and_to_a_dashboard(stack: Stack) -> None:
    files = render(stack)
    rules = [
        rule
        for path, text in files.items()
        if path.endswith(".rules.yml")
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert rules
    for rule in rules:
        annotations = rule["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url"}, rule["alert"]
        assert annotations["runbook_url"] == f"{stack.links.runbooks}/{rule['alert']}.md"
        address, _, uid = annotations["dashboard_url"].partition("?")[0].rpartition("/d/")
        assert (address, f"grafana/dashboards/{uid}.json" in files) == (stack.url_of("grafana"), True), rule["alert"]


def test_only_the_proxy_holds_the_socket_and_only_the_discoverer_reaches_it(stack: Stack) -> None:
    images = {**as_written(stack), "cadvisor": ImageUse("lookout/services:abc", True)}
    containers = yaml.safe_load(render(stack, images)["compose.yaml"])["services"]
    assert [name for name, one in containers.items() if "docker.sock" in str(one.get("volumes"))] == ["engine-proxy"]
    (network,) = containers["engine-proxy"]["networks"]
    assert stack.networks[network].internal
    assert {name for name, one in containers.items() if network in one.get("networks", ())} == {
        "engine-proxy",
        "discoverer",
    }
    assert not containers["engine-proxy"]["ports"] + containers["discoverer"]["ports"]


@pytest.mark.parametrize("absent", ["discoverer", "engine-proxy"])
def test_without_discovery_nothing_of_it_is_left(stack: Stack, absent: str) -> None:
    servers = {name: server for name, server in stack.servers.items() if name != absent}
    files = render(stack.model_copy(update={"servers": servers}))
    project = yaml.safe_load(files["compose.yaml"])
    assert not {"discoverer", "engine-proxy"} & set(project["services"])
    assert "discoverer-data" not in project["volumes"]
    assert not [path for path, text in files.items() if "discover" in text]


def test_the_discoverer_knows_the_names_of_the_model_and_the_networks_of_prometheus(stack: Stack) -> None:
    containers = yaml.safe_load(render(stack)["compose.yaml"])["services"]
    environment = containers["discoverer"]["environment"]
    assert set(containers) | {service.name for service in stack.services} <= set(environment["KNOWN_NAMES"].split(","))
    networks = environment["SHARED_NETWORKS"].split(",")
    assert set(networks) == {f"{stack.project}_{network}" for network in containers["prometheus"]["networks"]}
    assert networks[0] == f"{stack.project}_guests", "the one that a refused container is told to join"


def test_a_built_image_is_used_in_the_place_of_the_pinned_one(stack: Stack) -> None:
    images = {**as_written(stack), "loki": ImageUse("lookout/loki:abc", True)}
    assert yaml.safe_load(render(stack, images)["compose.yaml"])["services"]["loki"]["image"] == "lookout/loki:abc"


def test_a_changed_configuration_changes_the_label_of_a_server_that_cannot_reload(stack: Stack, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("retention: {logs: 7d}\n", encoding="utf-8")
    before = yaml.safe_load(render(stack)["compose.yaml"])["services"]
    after = yaml.safe_load(render(load([ROOT / "stack.yaml", overlay]))["compose.yaml"])["services"]
    assert before["loki"]["labels"] != after["loki"]["labels"]
    assert before["tempo"]["labels"] == after["tempo"]["labels"]


RELOADED = ("prometheus", "alertmanager")
"""Servers that read their configuration again when `up` asks them to."""


def test_every_server_that_cannot_reload_is_labelled_with_its_configuration(stack: Stack) -> None:
    containers = yaml.safe_load(render(stack)["compose.yaml"])["services"]
    for server in FOLDERS.values():
        if server in containers and server not in RELOADED:
            assert containers[server]["labels"][names.LABEL_CONFIG], server


EXCEPTIONS = {"promtail": "0:0", "cadvisor": "0:0", "engine-proxy": "0:0"}
"""Containers that run as root, without capabilities: docs/security.md says why."""


def test_every_container_is_hardened(compose: dict[str, Any]) -> None:
    for name, container in compose["services"].items():
        assert container["read_only"] is True, name
        assert container["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in container["security_opt"], name
        assert "mem_limit" in container, name
        assert container["logging"]["options"]["max-size"], name
        assert "privileged" not in container, name
        assert not {"pid", "ipc", "network_mode"} & set(container) or name == "probe", name


def test_every_lasting_container_restarts_and_has_a_health_check(compose: dict[str, Any]) -> None:
    for name, container in compose["services"].items():
        if name not in ONE_SHOT:
            assert container["restart"] == "unless-stopped", name
            assert container["init"] is True, name
            assert container["healthcheck"]["test"][:3] == ["CMD", "/probe/lookout-probe", "check"], name
            assert container.get("user", "") == EXCEPTIONS.get(name, container.get("user", "")), name


UNHEALTHY_WITHIN = 15
"""Seconds from the hang of a server to its container being unhealthy: docs/health.md."""


def test_one_failed_check_makes_any_container_unhealthy_in_time(compose: dict[str, Any]) -> None:
    for name, container in compose["services"].items():
        if name not in ONE_SHOT:
            check = container["healthcheck"]
            assert check["retries"] == 1, name
            assert sum(Duration(check[part]).seconds for part in ("interval", "timeout")) <= UNHEALTHY_WITHIN, name


def test_redis_refuses_writes_before_its_container_is_out_of_memory(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]
    command = redis["command"]
    most, limit = command[command.index("--maxmemory") + 1], redis["mem_limit"]
    assert most.endswith("mb")
    assert 0 < int(most.removesuffix("mb")) <= int(limit.removesuffix("m")) * 3 / 4
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    published = [port for container in compose["services"].values() for port in container.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_mounts_are_folders_and_never_single_files(compose: dict[str, Any], stack: Stack) -> None:
    folders = {path.split("/")[0] for path in render(stack)}
    for name, container in compose["services"].items():
        for volume in container.get("volumes", []):
            if volume.startswith("./"):
                assert volume.split(":")[0].split("/")[1] in folders, name
                assert "." not in volume.split(":")[0].split("/")[-1], name


def test_a_secret_that_two_receivers_share_is_asked_for_and_mounted_once(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        "receivers:\n"
        '  chat: {slack: {channel: "#alerts", api_url_file: secrets/slack}}\n'
        '  quiet: {slack: {channel: "#quiet", api_url_file: secrets/slack}}\n'
        "routes: {critical: [local, chat], warning: [quiet]}\n",
        encoding="utf-8",
    )
    files = render(load([ROOT / "stack.yaml", overlay]))
    assert yaml.safe_load(files["compose.yaml"])["services"]["alertmanager"]["secrets"] == ["slack"]
    assert files["bootstrap.sh"].count("[ -s secrets/slack ]") == 1


def bootstrapped(folder: Path, script: str, path: str | None = None) -> int:
    """Exit code of the secrets half of a bootstrap script, run in a folder."""
    (folder / "bootstrap.sh").write_text(script, encoding="utf-8")
    environment = {"PATH": path or os.environ["PATH"]}
    return subprocess.run(["/bin/sh", "bootstrap.sh", "secrets"], cwd=folder, env=environment, check=False).returncode


def test_bootstrap_makes_random_secrets_once_and_derived_ones_anew(stack: Stack, tmp_path: Path) -> None:
    script = render(stack)["bootstrap.sh"]
    assert bootstrapped(tmp_path, script) == 0
    first = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "secrets").iterdir()}
    assert bootstrapped(tmp_path, script) == 0
    assert first == {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "secrets").iterdir()}
    assert len({first[name] for name in ("grafana_admin", "postgres_password", "redis_password")}) == 3
    (tmp_path / "secrets" / "redis_password").unlink()
    assert bootstrapped(tmp_path, script) == 0
    renewed = (tmp_path / "secrets" / "redis_password").read_text(encoding="utf-8")
    assert renewed != first["redis_password"]
    assert renewed in (tmp_path / "secrets" / "redis_users").read_text(encoding="utf-8")
    assert renewed in (tmp_path / "secrets" / "redis_exporter").read_text(encoding="utf-8")


def test_bootstrap_makes_no_empty_secret_where_no_random_number_can_be_read(stack: Stack, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cat", "chmod", "dirname", "mkdir", "mv", "tr"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    assert bootstrapped(tmp_path, render(stack)["bootstrap.sh"], str(tools)) == 1
    assert not list((tmp_path / "secrets").iterdir())


def test_the_times_of_the_tests_of_restarts_are_whole(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("scrape: {slow: {interval: 1250ms, timeout: 1s}}\n", encoding="utf-8")
    rules = yaml.safe_load(render(load([ROOT / "stack.yaml", overlay]))["prometheus/rules/restarts.test.yml"])
    times = [case["eval_time"] for test in rules["tests"] for case in test["alert_rule_test"]]
    assert times
    assert all(re.fullmatch(r"\d+m?s", time) for time in times), times


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(model=valid_models(), data=st.data())
def test_any_valid_model_renders_to_a_whole_project(model: Stack, data: st.DataObject) -> None:
    files = render(model)
    project = yaml.safe_load(files["compose.yaml"])
    assert set(project["services"]) == {*model.containers, *model.one_shots}
    for name, container in project["services"].items():
        assert set(container.get("networks", [])) <= set(project["networks"]), name
        assert set(container.get("secrets", [])) <= set(project["secrets"]), name
    path = data.draw(st.sampled_from([path for path in files if path.endswith((".yml", ".yaml"))]))
    assert yaml.safe_load(files[path]) is not None, path
