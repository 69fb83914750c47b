"""What the engine says of the running containers: hardening, and health that fails when it should and comes back."""

from __future__ import annotations

import re
import signal
import time

import pytest

from lookout import engine
from lookout.engine import moment, started
from lookout.project import Project
from lookout.verify import live
from lookout.verify.polling import NotYet, poll_until
from tests.faults import send

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
    names = list(stack.stack.containers)
    before = stack.compose.containers()

    def old_enough() -> None:
        youngest = max(started(container) for name, container in before.items() if name in names)
        if time.time() - youngest < 65:
            raise NotYet("a probe ends no server in its first minute")

    poll_until(old_enough, "containers past their grace", within=90)
    frozen = {name: send(stack, name, signal.SIGSTOP) for name in names}
    unhealthy: dict[str, float] = {}

    def all_unhealthy() -> None:
        for name, container in stack.compose.containers().items():
            if name in frozen and name not in unhealthy:
                failed = [
                    log
                    for log in container["State"]["Health"]["Log"]
                    if log["ExitCode"] and moment(log["End"]) > frozen[name]
                ]
                if failed:
                    unhealthy[name] = moment(failed[0]["End"]) - frozen[name]
        if len(unhealthy) < len(frozen):
            raise NotYet(f"still healthy: {sorted(set(frozen) - set(unhealthy))}")

    poll_until(all_unhealthy, "frozen servers unhealthy", within=60, every=1)
    print("unhealthy after seconds:", {name: round(seconds, 1) for name, seconds in sorted(unhealthy.items())})
    late = {name: seconds for name, seconds in unhealthy.items() if seconds > UNHEALTHY_WITHIN}
    assert not late, f"later than {UNHEALTHY_WITHIN} s: {late}"

    def all_back() -> None:
        now = stack.compose.containers()
        same = [name for name in names if now[name]["State"]["StartedAt"] == before[name]["State"]["StartedAt"]]
        if same:
            raise NotYet(f"not restarted: {same}")
        verdicts = live.verdicts(stack.live, stack.compose)
        if not all(verdict.ok for verdict in verdicts):
            raise NotYet("; ".join(f"{verdict}: {verdict.missing}" for verdict in verdicts if not verdict.ok))

    poll_until(all_back, "frozen servers brought back", within=180, every=2)
