"""Roles, their schemas and the audit log, made in one transaction."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import asyncpg

from postgres_setup.scram import verifier
from telemetry import audit
from telemetry.errors import SettingsError
from telemetry.settings import required

READY_WITHIN_SECONDS = 60.0
RETRY_SECONDS = 0.5
MONITOR = "monitor"
"""The role of the exporter: it sees statistics, and no rows."""
MOVED = {
    "users": "app_platform_services",
    "payments": "app_platform_services",
    "mcp_documents": "app_mcp_server",
}
"""Tables that the owner had in ``public`` before services had roles → the role that they belong to now."""


class SetupFailed(Exception):
    """The database cannot be set up; the message says why, and what to do."""


async def run() -> None:
    """Set up the database that the environment names. Raises SetupFailed, SettingsError."""
    secret = Path(required(os.environ, "DATABASE_PASSWORD_FILE"))
    roles = os.environ.get("DATABASE_ROLES", "").split()
    passwords = {role: _password(secret.parent / f"postgres_{role}") for role in roles}
    monitor = secret.parent / f"postgres_{MONITOR}"
    connection = await _connected(required(os.environ, "DATABASE_URL"), _password(secret))
    try:
        await set_up(connection, passwords, os.environ.get("AUDIT_READERS", "").split(), _retention())
        if monitor.exists():
            await _login(connection, MONITOR, _password(monitor))
            await connection.execute(f'GRANT pg_monitor TO "{MONITOR}"')
    finally:
        await connection.close()


async def set_up(connection: Any, passwords: dict[str, str], readers: list[str], retention: str) -> None:
    """Make what is missing, and set what may have changed: passwords, grants, the retention of audit events."""
    async with connection.transaction():
        await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        await connection.execute(audit.SCHEMA)
        await connection.execute(audit.expiry(retention))
        for role, password in passwords.items():
            await _login(connection, role, password)
            # A schema named like its role is where the role's tables are made and looked for (search_path "$user").
            await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{role}" AUTHORIZATION "{role}"')
            await connection.execute(audit.grants(role, read=role in readers))
            for table in (table for table, owner in MOVED.items() if owner == role):
                await _move(connection, table, role)
        for row in await connection.fetch(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'app\\_%' AND rolcanlogin AND rolname <> ALL ($1)",
            list(passwords),
        ):
            # A service that is no longer in the model: its tables stay, its login does not.
            await connection.execute(f'ALTER ROLE "{row["rolname"]}" NOLOGIN')


async def _login(connection: Any, role: str, password: str) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(f'CREATE ROLE "{role}"')
    await connection.execute(
        f'ALTER ROLE "{role}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS'
        f" PASSWORD '{verifier(password)}'"
    )


async def _move(connection: Any, table: str, role: str) -> None:
    old, new = await connection.fetchrow(
        "SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL", f"public.{table}", f"{role}.{table}"
    )
    if old and not new:
        await connection.execute(f'ALTER TABLE public."{table}" OWNER TO "{role}"')
        await connection.execute(f'ALTER TABLE public."{table}" SET SCHEMA "{role}"')


async def _connected(dsn: str, password: str) -> Any:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while True:
        try:
            return await asyncpg.connect(dsn, password=password, timeout=5.0)
        except asyncpg.InvalidPasswordError as error:
            raise SetupFailed(
                f"PostgreSQL refuses the password of its owner ({error}): its data were made with another one; put"
                " that one back into secrets/postgres_password, or delete the data with `make clean`"
            ) from error
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            if time.monotonic() > deadline:
                raise SetupFailed(f"PostgreSQL does not answer: {type(error).__name__}: {error}") from error
            await asyncio.sleep(RETRY_SECONDS)


def _password(path: Path) -> str:
    """The password in a file. Raises SettingsError, which names the file."""
    try:
        password = path.read_text("ascii").strip()
    except OSError as error:
        raise SettingsError(f"{path}: the password cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: a password for PostgreSQL is ASCII here, and this one is not") from error
    if not password:
        raise SettingsError(f"{path}: the file is empty, and should hold a password")
    return password


def _retention() -> str:
    text = required(os.environ, "AUDIT_RETENTION")
    if not (text.endswith("h") and text[:-1].isdigit()):
        raise SetupFailed(f"AUDIT_RETENTION={text}: must be a number of hours, such as 8760h")
    return text
