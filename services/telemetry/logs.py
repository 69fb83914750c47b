"""Logs: one JSON object a line on stdout, from structlog, the standard library and uvicorn alike."""

import json
import logging
import sys
from typing import Any, cast

import structlog
from opentelemetry import trace
from prometheus_client import Counter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, FilteringBoundLogger

from telemetry import ids, masking

# Their lines of level info repeat what the access line and the client span already say.
QUIET = ("httpx", "httpcore", "asyncio", "opentelemetry")


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry ``logger: name``."""
    return cast(FilteringBoundLogger, structlog.get_logger(logger_name=name))


def configure(service: str, messages: Counter) -> None:
    """Set logging up for the process; ``messages`` counts lines by level."""

    def count(_logger: Any, _method: str, event: EventDict) -> EventDict:
        messages.labels(event["level"]).inc()
        return event

    def add_context(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["logger"] = event.pop("logger_name", "root")
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            event["trace_id"] = f"{span.trace_id:032x}"
            event["span_id"] = f"{span.span_id:016x}"
        bound = ids.current()
        if bound is not None:
            event["request_id"] = bound.request
            event["correlation_id"] = bound.correlation
        return event

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_context,
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=20)),
            structlog.processors.EventRenamer("message"),
            _mask,
            count,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _ToStructlog(logging.Handler):
    """Hands records of the standard library to structlog, so that there is one format."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            get_logger(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:
            self.handleError(record)


def _mask(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return cast(EventDict, masking.mask(event))


def _to_json(event: Any, **_options: Any) -> str:
    return json.dumps(event, default=str, separators=(",", ":"), ensure_ascii=False)
