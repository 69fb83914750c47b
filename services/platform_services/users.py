"""Users in PostgreSQL: an id that everything else refers to, an e-mail address, a role, and whether they come in."""

import uuid
from dataclasses import asdict, dataclass
from typing import Any

from telemetry.postgres import Postgres

ROLES = ("viewer", "editor", "admin")
SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    email text PRIMARY KEY,
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE users ADD COLUMN IF NOT EXISTS id uuid NOT NULL DEFAULT gen_random_uuid();
ALTER TABLE users ADD COLUMN IF NOT EXISTS role text NOT NULL DEFAULT 'viewer'
    CHECK (role IN ('viewer', 'editor', 'admin'));
ALTER TABLE users ADD COLUMN IF NOT EXISTS disabled boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX IF NOT EXISTS users_id ON users (id);
"""
_COLUMNS = "id, email, role, disabled"


@dataclass(frozen=True, slots=True)
class User:
    """One user; ``id`` is a UUID as text."""

    id: str
    email: str
    role: str
    disabled: bool

    @classmethod
    def of(cls, row: Any) -> "User":
        """The user of a row with the columns of the same names."""
        return cls(str(row["id"]), row["email"], row["role"], row["disabled"])

    def body(self) -> dict[str, Any]:
        """For a JSON answer."""
        return asdict(self)


class Users:
    """What is asked of the table; what changes it and is audited takes the connection of the audit's transaction."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    async def get(self, user: str) -> User | None:
        """The user with an id; None where there is none, also for what is no id (sessions of old held addresses)."""
        try:
            key = uuid.UUID(user)
        except ValueError:
            return None
        row = await self._database.fetchrow("get_user", f"SELECT {_COLUMNS} FROM users WHERE id = $1", key)
        return None if row is None else User.of(row)

    async def find(self, email: str) -> tuple[User, str] | None:
        """The user with an address, and the hash of the password."""
        row = await self._database.fetchrow(
            "find_user", f"SELECT {_COLUMNS}, password_hash FROM users WHERE email = $1", email
        )
        return None if row is None else (User.of(row), row["password_hash"])

    async def list(self, email: str | None, limit: int) -> list[User]:
        """The newest users, or the one with an address."""
        rows = await self._database.fetch(
            "list_users",
            f"SELECT {_COLUMNS} FROM users WHERE $1::text IS NULL OR email = $1 ORDER BY created_at DESC LIMIT $2",
            email,
            limit,
        )
        return [User.of(row) for row in rows]


async def insert(connection: Any, user: User, password_hash: str) -> None:
    """Add a user. Raises asyncpg.UniqueViolationError where the address is taken."""
    await connection.execute(
        "INSERT INTO users (id, email, role, disabled, password_hash) VALUES ($1, $2, $3, $4, $5)",
        uuid.UUID(user.id),
        user.email,
        user.role,
        user.disabled,
        password_hash,
    )


async def set_password(connection: Any, user: str, password_hash: str) -> None:
    """Replace the hash of the password."""
    await connection.execute("UPDATE users SET password_hash = $2 WHERE id = $1", uuid.UUID(user), password_hash)


async def change(connection: Any, user: str, role: str | None, disabled: bool | None) -> User | None:
    """Change role or access of a user, and return it as it is then; None where there is no such user.

    Raises LastAdmin where nobody would be left to undo it.
    """
    # Locked in one order, so that two administrators cannot take the role from each other at the same time.
    admins = await connection.fetch("SELECT id FROM users WHERE role = 'admin' AND NOT disabled ORDER BY id FOR UPDATE")
    if [str(row["id"]) for row in admins] == [user] and (disabled or role not in (None, "admin")):
        raise LastAdmin
    row = await connection.fetchrow(
        "UPDATE users SET role = coalesce($2, role), disabled = coalesce($3, disabled) WHERE id = $1"
        f" RETURNING {_COLUMNS}",
        uuid.UUID(user),
        role,
        disabled,
    )
    return None if row is None else User.of(row)


class LastAdmin(Exception):
    """The change would leave no administrator who may come in."""
