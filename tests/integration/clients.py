"""Clients of the gateway with addresses of their own."""

from __future__ import annotations

import json
from typing import Any

from lookout import engine
from lookout.project import Project

Asked = dict[str, Any]

# Runs in the container of the traffic generator, which the gateway believes whose requests it makes: so that a test
# is a client of its own, and spends nobody else's limit.
ASK = """
import json, sys, httpx
address, asked = json.load(sys.stdin)
with httpx.Client(base_url=ADDRESS, headers={"x-forwarded-for": address}, timeout=30) as client:
    answers = [client.request(one["method"], one["path"], content=one.get("body")) for one in asked]
print(json.dumps([[answer.status_code, dict(answer.headers)] for answer in answers]))
"""


def ask_as(stack: Project, address: str, asked: list[Asked]) -> list[tuple[int, dict[str, str]]]:
    """Status and headers of the gateway's answers to a client with an address of its own."""
    gateway = f"http://api-gateway:{stack.stack.port_of('api-gateway')}"
    script = ASK.replace("ADDRESS", repr(gateway))
    container = stack.compose.containers()["traffic"]["Id"]
    done = engine.run(
        "exec", "--interactive", container, "python", "-c", script, stdin=json.dumps([address, asked]), timeout=120
    )
    return [(status, headers) for status, headers in json.loads(done.stdout)]
