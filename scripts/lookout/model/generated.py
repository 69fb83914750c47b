"""The secrets that nobody has to give: their names, which a receiver's secret cannot have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .stack import Service, Stack

_COME_WITH: Final[Mapping[str, str]] = {
    "grafana_admin": "grafana",
    "postgres_password": "postgres",
    "redis_password": "redis",
    "redis_users": "redis",
    "redis_exporter": "redis-exporter",
    "webhook_secret": "api-gateway",
    "platform_admin": "platform-services",
    "postgres_monitor": "postgres-exporter",
    "provider_api_key": "simulators",
    "airtable_token": "simulators",
}
"""Secret → the container that it is made with; one that follows from another stands after it."""


def generated_secrets(stack: Stack) -> list[str]:
    """The secrets that bootstrap.sh makes for this model, those of roles in PostgreSQL among them."""
    there = {*stack.running, *(service.name for service in stack.bundled)}
    own = (name for name, container in _COME_WITH.items() if container in there)
    return [*own, *(secret_of_role(role_of(service)) for service in stack.on_postgres)]


def role_of(service: Service) -> str:
    """The role that a service has in PostgreSQL; the prefix keeps it apart from PostgreSQL's own names."""
    return "app_" + service.name.replace("-", "_")


def secret_of_role(role: str) -> str:
    """The name of the secret with the password of a role."""
    return f"postgres_{role}"
