"""Which secrets the containers read, and how bootstrap.sh makes those that nobody has to give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .model import Service, Stack, generated_secrets, role_of, secret_of_role

_VALUES: Final[Mapping[str, str]] = {
    "redis_users": "user default on >$(cat secrets/redis_password) ~* &* +@all",
    "redis_exporter": '{\\"redis://redis:{redis_port}\\": \\"$(cat secrets/redis_password)\\"}',
}
"""Values that follow from secrets made before, as shell; all others are random."""

_READERS: Final[Mapping[str, tuple[str, ...]]] = {
    # The traffic generator signs its webhooks with the same secret.
    "webhook_secret": ("api-gateway",),
    "platform_admin": ("platform-services",),
    "provider_api_key": ("llm-orchestrator", "mcp-server"),
    "airtable_token": ("airtable-gateway",),
}
"""The services that are told the path of a secret's file, in <NAME>_FILE."""


def path_of(name: str) -> str:
    """Where a container that is given a secret finds it."""
    return f"/run/secrets/{name}"


def shell_value(stack: Stack, name: str) -> str:
    """The value of a generated secret, as shell puts it together; empty for a random one."""
    redis_port = stack.servers["redis"].port if "redis" in stack.servers else ""
    return _VALUES.get(name, "").replace("{redis_port}", str(redis_port))


def all_of(stack: Stack) -> list[str]:
    """Every secret of the model: generated, and given for receivers."""
    return [*generated_secrets(stack), *(secret.name for secret in stack.secret_files)]


def of_service(stack: Stack, service: Service) -> list[str]:
    """The secrets that a bundled service reads."""
    wanted = {
        secret_of_role(role_of(service)): "postgres" in service.depends_on,
        "redis_password": "redis" in service.depends_on,
        **{name: service.name in readers for name, readers in _READERS.items()},
    }
    made = generated_secrets(stack)
    return [name for name, needed in wanted.items() if needed and name in made]


def of_setup(stack: Stack) -> list[str]:
    """The secrets that postgres-setup reads: of the owner of the database, and of each role that it makes."""
    made = generated_secrets(stack)
    roles = (secret_of_role(role_of(service)) for service in stack.on_postgres)
    return [name for name in ("postgres_password", "postgres_monitor", *roles) if name in made]


def variables(stack: Stack, service: Service) -> dict[str, str]:
    """Variables of a bundled service that name the files of its own secrets; a database's come with its address."""
    own = (name for name in of_service(stack, service) if name in _READERS)
    return {f"{name.upper()}_FILE": path_of(name) for name in own}
