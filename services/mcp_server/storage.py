"""Notes in PostgreSQL, searches cached in Redis."""

import hashlib
from typing import Any

import asyncpg

from telemetry import DependencyError, Telemetry
from telemetry.cache import Cache
from telemetry.postgres import Postgres

SCHEMA = """
CREATE TABLE IF NOT EXISTS mcp_documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""
MAX_DOCUMENTS = 10_000
MAX_FOUND = 10
BACKEND = "postgres"
OPERATIONS = ("store", "trim", "search", "newest", "read", "delete")


class Storage:
    """Counts mcp_storage_operations_total and mcp_cache_operations_total."""

    def __init__(self, telemetry: Telemetry, database: Postgres, cache: Cache) -> None:
        self._database = database
        self._cache = cache
        self._storage_operations = telemetry.metrics.counter(
            "mcp_storage_operations_total", "Operations on the storage.", ["operation", "backend", "result"]
        )
        self._cache_operations = telemetry.metrics.counter(
            "mcp_cache_operations_total", "Operations on the cache.", ["operation", "result"]
        )
        for operation in OPERATIONS:
            for result in ("ok", "error"):
                self._storage_operations.labels(operation, BACKEND, result)
        for operation, results in (("get", ("hit", "miss", "error")), ("set", ("ok", "error"))):
            for result in results:
                self._cache_operations.labels(operation, result)

    async def store(self, body: str) -> int:
        """Keep a text and return its id; the oldest make room beyond MAX_DOCUMENTS."""
        row = await self._ask("store", "INSERT INTO mcp_documents (body) VALUES ($1) RETURNING id", body)
        found: int = row[0]["id"]
        if found % 100 == 0:
            await self._ask("trim", "DELETE FROM mcp_documents WHERE id <= $1", found - MAX_DOCUMENTS)
        return found

    async def search(self, text: str) -> list[dict[str, Any]]:
        """Ids and beginnings of the newest texts that contain ``text``."""
        key = hashlib.sha256(text.encode()).hexdigest()
        cached, result = await self._cache.get(key)
        self._cache_operations.labels("get", result).inc()
        if cached is not None:
            return list(cached)
        rows = await self._ask(
            "search",
            "SELECT id, left(body, 80) AS body FROM mcp_documents WHERE strpos(body, $1) > 0 ORDER BY id DESC LIMIT $2",
            text,
            MAX_FOUND,
        )
        found = [{"id": row["id"], "text": row["body"]} for row in rows]
        self._cache_operations.labels("set", await self._cache.set(key, found)).inc()
        return found

    async def newest(self, limit: int) -> list[dict[str, Any]]:
        """Ids and beginnings of the newest texts."""
        rows = await self._ask(
            "newest", "SELECT id, left(body, 80) AS body FROM mcp_documents ORDER BY id DESC LIMIT $1", limit
        )
        return [{"id": row["id"], "text": row["body"]} for row in rows]

    async def read(self, id: int) -> dict[str, Any] | None:
        """A whole text with the time it was kept at; None where there is none."""
        rows = await self._ask("read", "SELECT id, body, created_at FROM mcp_documents WHERE id = $1", id)
        return {"id": id, "text": rows[0]["body"], "created_at": rows[0]["created_at"].isoformat()} if rows else None

    async def delete(self, id: int) -> bool:
        """Delete a text; False where there is none."""
        return bool(await self._ask("delete", "DELETE FROM mcp_documents WHERE id = $1 RETURNING id", id))

    async def _ask(self, operation: str, sql: str, *arguments: object) -> list[Any]:
        try:
            rows = await self._database.fetch(f"mcp_{operation}", sql, *arguments)
        except (DependencyError, asyncpg.PostgresError):
            self._storage_operations.labels(operation, BACKEND, "error").inc()
            raise
        self._storage_operations.labels(operation, BACKEND, "ok").inc()
        return rows
