"""Which secrets the containers read, and how bootstrap.sh makes those that nobody has to give."""

from __future__ import annotations

from typing import Final, NamedTuple

from .model import Service, Stack


class _Secret(NamedTuple):
    """A secret that bootstrap.sh makes where the container ``owner`` is in the bundle.

    The services of ``readers`` are told the path of its file in <NAME>_FILE. ``value`` is shell, and follows from
    secrets that stand before it; without one the secret is random.
    """

    owner: str
    readers: tuple[str, ...] = ()
    value: str = ""


_SECRETS: Final = {
    "grafana_admin": _Secret("grafana"),
    "postgres_password": _Secret("postgres"),
    "redis_password": _Secret("redis"),
    "redis_users": _Secret("redis", value="user default on >$(cat secrets/redis_password) ~* &* +@all"),
    "redis_exporter": _Secret(
        "redis-exporter", value='{\\"redis://redis:{redis_port}\\": \\"$(cat secrets/redis_password)\\"}'
    ),
    # The traffic generator signs its webhooks with the same secret.
    "webhook_secret": _Secret("api-gateway", readers=("api-gateway",)),
    "platform_admin": _Secret("platform-services", readers=("platform-services",)),
    "postgres_monitor": _Secret("postgres-exporter"),
    "provider_api_key": _Secret("simulators", readers=("llm-orchestrator", "mcp-server")),
    "airtable_token": _Secret("simulators", readers=("airtable-gateway",)),
}
"""By name; beside them each service on PostgreSQL has the password of its role, and receivers what the user gives."""


def path_of(name: str) -> str:
    """Where a container that is given a secret finds it."""
    return f"/run/secrets/{name}"


def shell_value(stack: Stack, name: str) -> str:
    """The value of a generated secret, as shell puts it together; empty for a random one."""
    redis_port = stack.servers["redis"].port if "redis" in stack.servers else ""
    return _SECRETS[name].value.replace("{redis_port}", str(redis_port)) if name in _SECRETS else ""


def generated(stack: Stack) -> list[str]:
    """The secrets that bootstrap.sh makes for this model."""
    there = {*stack.running, *(service.name for service in stack.bundled)}
    return [*(name for name, secret in _SECRETS.items() if secret.owner in there), *_of_roles(stack)]


def role_of(service: Service) -> str:
    """The role that a service has in PostgreSQL; the prefix keeps it apart from PostgreSQL's own names."""
    return "app_" + service.name.replace("-", "_")


def of_role(role: str) -> str:
    """The name of the secret with the password of a role."""
    return f"postgres_{role}"


def _of_roles(stack: Stack) -> list[str]:
    return [of_role(role_of(service)) for service in stack.on_postgres]


def all_of(stack: Stack) -> list[str]:
    """Every secret of the model: generated, and given for receivers."""
    return [*generated(stack), *(secret.name for secret in stack.secret_files)]


def of_service(stack: Stack, service: Service) -> list[str]:
    """The secrets that a bundled service reads."""
    wanted = {
        of_role(role_of(service)): "postgres" in service.depends_on,
        "redis_password": "redis" in service.depends_on,
        **{name: service.name in secret.readers for name, secret in _SECRETS.items() if secret.readers},
    }
    made = generated(stack)
    return [name for name, needed in wanted.items() if needed and name in made]


def of_setup(stack: Stack) -> list[str]:
    """The secrets that postgres-setup reads: of the owner of the database, and of each role that it makes."""
    made = generated(stack)
    return [name for name in ("postgres_password", "postgres_monitor", *_of_roles(stack)) if name in made]


def variables(stack: Stack, service: Service) -> dict[str, str]:
    """Variables of a bundled service that name the files of its own secrets; a database's come with its address."""
    own = (name for name in of_service(stack, service) if name in _SECRETS and _SECRETS[name].readers)
    return {f"{name.upper()}_FILE": path_of(name) for name in own}
