"""Faults on demand in the services of a running project, asked for from inside their containers."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from . import engine
from .errors import Unsatisfied, WrongUsage
from .project import Project

_ASK = """
import http.client, json, sys
port, method, body = json.load(sys.stdin)
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
connection.request(method, "/faults", body and json.dumps(body), {"content-type": "application/json"})
answer = connection.getresponse()
print(json.dumps([answer.status, json.loads(answer.read())]))
"""
"""Run by the Python of the service's own image: the listener is on its loopback interface and published nowhere."""


def start(project: Project, service: str, kind: str, parameters: Mapping[str, float | str]) -> dict[str, Any]:
    """Starts a fault; what the service says of it.

    Raises WrongUsage where the model has no faults, no such service, or the service refuses what is asked of it;
    Unsatisfied where it does not answer.
    """
    return _ask(project, service, "POST", {"kind": kind, **parameters})


def listed(project: Project, service: str) -> dict[str, Any]:
    """Kinds that a service can have, and the faults at work in it. Raises like ``start``."""
    return _ask(project, service, "GET")


def clear(project: Project, service: str) -> int:
    """Ends all faults of a service; how many they were. Raises like ``start``."""
    return int(_ask(project, service, "DELETE")["ended"])


def services(project: Project) -> list[str]:
    """The services that take faults. Raises WrongUsage where the model has turned none on, or bundles no service."""
    if project.stack.faults_port is None:
        raise WrongUsage(
            "faults are off in the model of this stack: put `faults: true` into it or into an overlay, and run `up`"
        )
    if not project.stack.bundled:
        raise WrongUsage("no service of this model runs in the bundle, and Lookout has no way to make another one fail")
    return [service.name for service in project.stack.bundled]


def _ask(project: Project, service: str, method: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    known = services(project)
    if service not in known:
        raise WrongUsage(_unknown(project, service, known))
    container = project.compose.containers().get(service)
    if container is None or container["State"]["Status"] != "running":
        raise Unsatisfied(f"{service} does not run, so it takes no fault: look at `make status`")
    question = json.dumps([project.stack.faults_port, method, body])
    done = engine.inside(container["Id"], "python", "-c", _ASK, stdin=question)
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unsatisfied(f"{service} does not take faults: {words}")
    status, answer = json.loads(done.stdout)
    if status == 400:
        raise WrongUsage(f"{service}: {answer['error']['message']}")
    if status >= 300:
        raise Unsatisfied(f"{service} answered {status}: {answer}")
    return dict(answer)


def _unknown(project: Project, service: str, known: list[str]) -> str:
    if service in (other.name for other in project.stack.services):
        return f"{service} runs outside the bundle: Lookout has no way to make it fail"
    close = difflib.get_close_matches(service, known, n=1)
    mend = f'did you mean "{close[0]}"?' if close else "known are: " + ", ".join(known)
    return f'"{service}" is no service that takes faults: {mend}'
