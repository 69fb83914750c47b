"""Requests as a browser makes them, and the services that each must cross."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from lookout.project import Project


@dataclass(frozen=True)
class Journey:
    """One request through the frontend: what is asked, what is answered, whom its trace must cross."""

    name: str
    path: str
    body: dict[str, Any]
    status: int
    crosses: tuple[str, ...]
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def _through(*services: str) -> tuple[str, ...]:
    return ("frontend", "api-gateway", *services)


JOURNEYS = (
    Journey("chat", "/api/chat", {"message": "What is a span?", "model": "mistral-small", "tool": "word_count"}, 200,
            _through("llm-orchestrator", "mcp-server")),
    Journey("review", "/api/tools/review", {"text": "def f(): pass"}, 200,
            _through("mcp-server", "automation-services")),
    Journey("order", "/api/orders", {"item": "book", "amount": 12.5}, 201,
            _through("saga-orchestrator", "airtable-gateway", "platform-services", "automation-services")),
)  # fmt: skip

FAILING = Journey(
    "failing chat", "/api/chat", {"message": "Anyone?", "model": "unavailable"}, 502, _through("llm-orchestrator")
)


def travel(stack: Project, journey: Journey, headers: Mapping[str, str]) -> httpx.Response:
    """Makes the request of a journey once, through the published frontend."""
    unique = journey.body | (
        {"message": f"{journey.body['message']} {uuid.uuid4().hex}"} if "message" in journey.body else {}
    )
    url = f"{stack.live.url('frontend')}{journey.path}"
    return httpx.request(journey.method, url, json=unique, headers={**journey.headers, **headers}, timeout=40)


def kept_traceparent() -> str:
    """A new trace id that falls into the share that services keep."""
    return _traceparent("00000000")


def unkept_traceparent() -> str:
    """A new trace id that only an error or a slow answer keeps."""
    return _traceparent("ffffffff")


def _traceparent(low: str) -> str:
    """Services look at the low 64 bits of the id; the rest is random."""
    return f"00-{secrets.token_hex(8)}{low}{secrets.token_hex(4)}-{secrets.token_hex(8)}-01"
