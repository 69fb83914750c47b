"""What the engine says of the running containers: hardening, and health that fails when it should and comes back."""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from lookout import engine
from lookout.engine import moment, started
from lookout.project import Project
from lookout.verify import containers
from lookout.verify.polling import NotYet, poll_until
from lookout.verify.verdict import Containers
from tests.faults import send
from tests.integration.conftest import wait_live

pytestmark = pytest.mark.integration

ROOT_CONTAINERS = {"promtail", "cadvisor", "engine-proxy"}
"""docs/security.md says why these run as root."""

UNHEALTHY_WITHIN = 15
"""Seconds from the hang of a server to its container being unhealthy."""


def test_every_container_is_hardened(stack: Project) -> None:
    for name, container in stack.compose.containers().items():
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert not host["Privileged"], name
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"]), name
        assert host["Memory"] > 0, name
        assert host["LogConfig"]["Config"]["max-size"], name


def test_servers_run_as_other_users_than_root(stack: Project) -> None:
    for name in stack.stack.containers:
        users = engine.run("top", stack.compose.containers()[name]["Id"], "-eo", "pid,uid,args").stdout.splitlines()[1:]
        is_root = any(line.split()[1] == "0" for line in users)
        assert is_root == (name in ROOT_CONTAINERS), f"{name}: {users}"


def test_ports_are_bound_to_loopback_only(stack: Project) -> None:
    bindings = [
        binding
        for container in stack.compose.containers().values()
        for bound in (container["NetworkSettings"]["Ports"] or {}).values()
        for binding in bound or []
    ]
    assert len(bindings) == len([name for name in stack.stack.publish.ports if name in stack.stack.containers])
    assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}


def test_no_secret_shows_in_the_environment_or_the_command_of_a_container(stack: Project) -> None:
    texts = [path.read_text(encoding="utf-8") for path in (stack.folder / "secrets").iterdir()]
    secrets = {secret for text in texts for secret in re.findall(r"[0-9a-f]{48}", text)}
    assert len(secrets) >= 3
    shown = str([(container["Config"]["Env"], container["Args"]) for container in stack.compose.containers().values()])
    assert not [secret for secret in secrets if secret in shown]


def test_the_databases_are_out_of_reach_of_services_that_do_not_need_them(stack: Project) -> None:
    networks = {
        name: set(container["NetworkSettings"]["Networks"]) for name, container in stack.compose.containers().items()
    }
    assert not networks["redis"] & networks["frontend"]
    assert networks["redis"] & networks["api-gateway"]


def test_a_frozen_server_turns_unhealthy_in_time_and_is_brought_back(stack: Project) -> None:
    before, frozen, unhealthy = stack.compose.containers(), dict[str, float](), dict[str, float]()

    def look() -> None:
        # One that is ended and brought back is unhealthy no more: what was seen is kept.
        now = stack.compose.containers()
        for name in frozen.keys() - unhealthy.keys():
            health, needed = now[name]["State"]["Health"], now[name]["Config"]["Healthcheck"]["Retries"]
            ends = [moment(log["End"]) for log in health["Log"] if log["ExitCode"]]
            failed = [end for end in ends if end > frozen[name]]
            if health["Status"] == "unhealthy" and len(failed) >= needed:
                unhealthy[name] = failed[needed - 1] - frozen[name]

    def all_unhealthy() -> None:
        look()
        if len(unhealthy) < len(frozen):
            raise NotYet(f"still healthy: {sorted(set(frozen) - set(unhealthy))}")

    for name in stack.stack.containers:
        frozen[name] = send(stack, name, signal.SIGSTOP)
        look()
    poll_until(all_unhealthy, "frozen servers unhealthy", within=60, every=1)
    print("unhealthy after seconds:", {name: round(seconds, 1) for name, seconds in sorted(unhealthy.items())})
    late = {name: seconds for name, seconds in unhealthy.items() if seconds > UNHEALTHY_WITHIN}
    assert not late, f"later than {UNHEALTHY_WITHIN} s: {late}"
    wait_back(stack, before)


def test_every_server_that_is_killed_is_brought_back(stack: Project) -> None:
    before = stack.compose.containers()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: send(stack, name, signal.SIGKILL), stack.stack.containers))
    wait_back(stack, before)
    wait_live(stack)


def wait_back(stack: Project, before: Containers) -> None:
    """Until every server was started again, and is healthy."""

    def all_back() -> None:
        now = stack.compose.containers()
        same = [name for name in stack.stack.containers if started(now[name]) == started(before[name])]
        if same:
            raise NotYet(f"not started again: {same}")
        verdict = containers.healthy(stack.live, now)
        if not verdict.ok:
            raise NotYet(f"{verdict}: {verdict.missing}")

    poll_until(all_back, "servers brought back", within=180, every=1)
