"""A cache in Redis whose absence is a miss, never a failure of the request."""

import json
from typing import Any

from telemetry.errors import DependencyError
from telemetry.logs import get_logger
from telemetry.metrics import Metrics
from telemetry.redis_store import RedisStore

log = get_logger("telemetry.cache")


class Cache:
    """JSON values under ``prefix`` for ``seconds``; counts cache_operations_total{operation, result}."""

    def __init__(self, store: RedisStore, prefix: str, seconds: int, metrics: Metrics) -> None:
        self._store = store
        self._prefix = prefix
        self._seconds = seconds
        self._operations = metrics.counter(
            "cache_operations_total",
            "Operations on the cache; result is hit, miss, ok or error.",
            ["operation", "result"],
        )
        for operation, result in (
            ("get", "hit"),
            ("get", "miss"),
            ("get", "error"),
            ("set", "ok"),
            ("set", "error"),
        ):
            self._operations.labels(operation, result)

    async def get(self, key: str) -> tuple[Any | None, str]:
        """Value and result: hit, miss or error (with no value)."""
        try:
            text = await self._store.call("GET", f"{self._prefix}:{key}")
        except DependencyError as error:
            log.warning("cache is not readable", error=str(error))
            return None, self._count("get", "error")
        if text is None:
            return None, self._count("get", "miss")
        return json.loads(text), self._count("get", "hit")

    async def set(self, key: str, value: Any) -> str:
        """Store a value; the result is ok or error."""
        try:
            await self._store.call("SET", f"{self._prefix}:{key}", json.dumps(value), "EX", self._seconds)
        except DependencyError as error:
            log.warning("cache is not writable", error=str(error))
            return self._count("set", "error")
        return self._count("set", "ok")

    def _count(self, operation: str, result: str) -> str:
        self._operations.labels(operation, result).inc()
        return result
