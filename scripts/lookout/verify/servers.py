"""What each server of a running stack knows: typed questions to their APIs. All raise NotYet without an answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..model import Stack
from .http import get_json
from .polling import NotYet


def kept_traceparent(trace_id: str | None = None) -> str:
    """A W3C traceparent, new but for the trace id given, of a trace that services keep.

    Services draw by the trace id, which comes with a parent only. That span is stored nowhere: the trace has no root.
    """
    return f"00-{trace_id or kept_trace_id()}-{secrets.token_hex(8)}-01"


def kept_trace_id() -> str:
    """A new trace id whose low 64 bits, by which services draw their share, are among the lowest."""
    return f"{secrets.token_hex(8)}{0:08x}{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Live:
    """The published servers of a running stack."""

    stack: Stack
    folder: Path

    def url(self, container: str) -> str:
        """Address of a published container. Raises NotYet when it is not published."""
        url = self.stack.url_of(container)
        if url is None:
            raise NotYet(f"{container} is not published, so it cannot be asked")
        return url

    def rendered(self, path: str) -> Any:
        """A YAML file of the project that runs, read."""
        return yaml.safe_load((self.folder / path).read_text(encoding="utf-8"))

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Result of an instant query of Prometheus."""
        answer = get_json(f"{self.url('prometheus')}/api/v1/query", {"query": promql})
        return list(answer["data"]["result"])

    def targets(self) -> list[dict[str, Any]]:
        """Active targets of Prometheus."""
        return list(get_json(f"{self.url('prometheus')}/api/v1/targets", {"state": "active"})["data"]["activeTargets"])

    def rules(self) -> list[dict[str, Any]]:
        """Rule groups of Prometheus."""
        return list(get_json(f"{self.url('prometheus')}/api/v1/rules")["data"]["groups"])

    def logs(self, logql: str, since: float = 300, limit: int = 100) -> list[tuple[float, str, dict[str, str]]]:
        """Log lines of Loki of the last ``since`` seconds, newest first: (unix time, line, labels)."""
        now = time.time()
        answer = get_json(
            f"{self.url('loki')}/loki/api/v1/query_range",
            {"query": logql, "start": int((now - since) * 1e9), "end": int((now + 5) * 1e9), "limit": limit},
        )
        lines = [
            (int(stamp) / 1e9, line, stream["stream"])
            for stream in answer["data"]["result"]
            for stamp, line in stream["values"]
        ]
        return sorted(lines, key=lambda found: found[0], reverse=True)

    def traces(self, service: str, since: float, limit: int = 1) -> set[str]:
        """Ids of traces of a service from after a Unix time in the first trace store, ``limit`` of them at most."""
        store = self.stack.traces.stores[0]
        if store == "jaeger":
            found = get_json(
                f"{self.url('jaeger')}/api/traces", {"service": service, "limit": limit, "start": int(since * 1e6)}
            )["data"]
        else:
            found = get_json(
                f"{self.url('tempo')}/api/search",
                {
                    "q": f'{{resource.service.name="{service}"}}',
                    "limit": limit,
                    "start": int(since),
                    "end": int(time.time()) + 5,
                },
            )["traces"]
        # Tempo leaves zeros at the front of an id away.
        return {str(trace["traceID"]).zfill(32) for trace in found or ()}

    def trace(self, trace_id: str) -> dict[str, set[str]]:
        """Span names by service of a stored trace. Raises NotYet when the store does not have it."""
        store = self.stack.traces.stores[0]
        if store == "jaeger":
            data = get_json(f"{self.url('jaeger')}/api/traces/{trace_id}")["data"]
            return _jaeger_spans(data)
        return _otlp_spans(get_json(f"{self.url('tempo')}/api/traces/{trace_id}"))

    def notifications(self, **filters: str) -> list[dict[str, Any]]:
        """What the local receiver got, oldest first."""
        return list(get_json(f"{self.url('receiver')}/notifications", filters)["notifications"])

    def grafana(self, path: str) -> Any:
        """An answer of Grafana's API, asked as its administrator."""
        secret = self.folder / "secrets" / "grafana_admin"
        try:
            password = secret.read_text(encoding="utf-8")
        except OSError as error:
            raise NotYet(f"{secret}: the password cannot be read: {error.strerror}") from error
        return get_json(f"{self.url('grafana')}{path}", auth=("admin", password))


def _jaeger_spans(traces: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    spans: dict[str, set[str]] = {}
    for trace in traces:
        for span in trace["spans"]:
            name = trace["processes"][span["processID"]]["serviceName"]
            spans.setdefault(name, set()).add(span["operationName"])
    return spans


def _otlp_spans(answer: dict[str, Any]) -> dict[str, set[str]]:
    spans: dict[str, set[str]] = {}
    for batch in answer.get("batches", answer.get("resourceSpans", [])):
        attributes = {item["key"]: item["value"] for item in batch["resource"]["attributes"]}
        name = attributes["service.name"]["stringValue"]
        for scope in batch.get("scopeSpans", []):
            spans.setdefault(name, set()).update(span["name"] for span in scope["spans"])
    return spans
