"""Which secrets the containers read, and how bootstrap.sh makes those that nobody has to give."""

from __future__ import annotations

from typing import Final

from .model import Service, Stack

WEBHOOKS: Final = "api-gateway"
"""The service that checks signed webhooks; the traffic generator signs its own with the same secret."""

_VALUES: Final = {
    "grafana_admin": "",
    "postgres_password": "",
    "redis_password": "",
    "redis_users": "user default on >$(cat secrets/redis_password) ~* &* +@all",
    "redis_exporter": '{\\"redis://redis:{redis_port}\\": \\"$(cat secrets/redis_password)\\"}',
    "webhook_secret": "",
    "platform_admin": "",
    "postgres_monitor": "",
    "provider_api_key": "",
    "airtable_token": "",
}
"""Name of a secret → its value in shell where it follows from those before it; empty where it is random."""


def shell_value(stack: Stack, name: str) -> str:
    """The value of a generated secret, as shell puts it together; empty for a random one."""
    redis_port = stack.servers["redis"].port if "redis" in stack.servers else ""
    return _VALUES.get(name, "").replace("{redis_port}", str(redis_port))


def generated(stack: Stack) -> list[str]:
    """The secrets that bootstrap.sh makes for this model."""
    needs = {
        "grafana_admin": "grafana" in stack.running,
        "postgres_password": "postgres" in stack.running,
        "redis_password": "redis" in stack.running,
        "redis_users": "redis" in stack.running,
        "redis_exporter": "redis-exporter" in stack.running,
        "webhook_secret": any(service.name == WEBHOOKS for service in stack.bundled),
        "postgres_monitor": "postgres-exporter" in stack.running,
        "platform_admin": any(service.name == "platform-services" for service in stack.bundled),
        "provider_api_key": "simulators" in stack.running,
        "airtable_token": "simulators" in stack.running,
    }
    return [*(name for name in _VALUES if needs[name]), *(of_role(role_of(service)) for service in stack.on_postgres)]


def role_of(service: Service) -> str:
    """The role that a service has in PostgreSQL; the prefix keeps it apart from PostgreSQL's own names."""
    return "app_" + service.name.replace("-", "_")


def of_role(role: str) -> str:
    """The name of the secret with the password of a role."""
    return f"postgres_{role}"


def all_of(stack: Stack) -> list[str]:
    """Every secret of the model: generated, and given for receivers."""
    return [*generated(stack), *(secret.name for secret in stack.secret_files)]


def of_service(stack: Stack, service: Service) -> list[str]:
    """The secrets that a bundled service reads."""
    wanted = {
        of_role(role_of(service)): "postgres" in service.depends_on,
        "redis_password": "redis" in service.depends_on,
        "webhook_secret": service.name == WEBHOOKS,
        "platform_admin": service.name == "platform-services",
        "provider_api_key": service.name in ("llm-orchestrator", "mcp-server"),
        "airtable_token": service.name == "airtable-gateway",
    }
    return [name for name, needed in wanted.items() if needed and name in generated(stack)]
