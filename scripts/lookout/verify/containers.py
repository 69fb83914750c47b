"""Whether every container runs and is healthy, as the engine says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .servers import Live
from .verdict import Containers, Missing, question


@question("containers healthy", of="engine")
def healthy(live: Live, found: Containers) -> tuple[int, Missing]:
    """Those that stay up are healthy, and those that end have ended well."""
    missing: list[tuple[str, str]] = []
    for name in live.stack.containers:
        why = _unwell(found[name]["State"]) if name in found else "has no container"
        if why:
            missing.append((name, why))
    for name in live.stack.one_shots:
        state = found[name]["State"] if name in found else {"Status": "not there", "ExitCode": 0}
        if state["Status"] != "exited" or state["ExitCode"]:
            missing.append((name, f"has not done its work: is {state['Status']} (exit code {state['ExitCode']})"))
    return len(live.stack.containers) + len(live.stack.one_shots), missing


def _unwell(state: Mapping[str, Any]) -> str | None:
    """Why a container that should stay up is not healthy, with the last words of its health check."""
    if state["Status"] != "running":
        return f"is {state['Status']} (exit code {state['ExitCode']})"
    health = state.get("Health", {})
    status = health.get("Status", "has no health check")
    if status == "healthy":
        return None
    log = health.get("Log") or [{"Output": ""}]
    return f"is {status} {log[-1]['Output'].strip()}".strip()
