"""Logs: one JSON object a line on stdout, from structlog, the standard library and uvicorn alike (docs/logs.md)."""

import contextlib
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import structlog
from opentelemetry import trace
from prometheus_client import Counter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, FilteringBoundLogger

from telemetry import ids
from telemetry.masking import mask, mask_text, shown

LEVELS = ("info", "warning", "error")
# Their lines of level info repeat what the access line and the client span already say.
QUIET = ("httpx", "httpcore", "asyncio", "opentelemetry", "uvicorn.access")
# Loggers that come with handlers of their own; their lines go through the one pipeline instead.
_TAKEN_OVER = ("uvicorn", "uvicorn.error", "uvicorn.access", "gunicorn.error", "gunicorn.access", "fastapi")
_NOT_EXTRA = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}

_explain = ExceptionDictTransformer(show_locals=False, max_frames=20)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_encode_anything = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry ``logger: name``."""
    return cast(FilteringBoundLogger, structlog.get_logger(logger_name=name))


class _Pipeline:
    """Makes a line of an event: context, exception, masking, JSON."""

    def __init__(self) -> None:
        self.service = ""
        self.count: dict[str, Callable[[], None]] = {}
        self._date = (0, "")

    def __call__(self, _logger: Any, method: str, event: EventDict) -> str:
        # A critical line is an error too: an alert asks for one word.
        level = method if method in LEVELS else "error"
        line: dict[str, Any] = {
            "timestamp": self._now(),
            "level": level,
            "service": self.service,
            "logger": event.pop("logger_name", "root"),
            "message": mask_text(shown(event.pop("event", ""))),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = f"{span.trace_id:032x}"
            line["span_id"] = f"{span.span_id:016x}"
        bound = ids.current()
        if bound is not None:
            line["request_id"] = bound.request
            line["correlation_id"] = bound.correlation
            if bound.user is not None:
                line["user_id"] = bound.user
        error = event.pop("exc_info", None)
        if event:
            # What stands already is not overwritten: a field called "service" must not move a line to another one.
            fields = mask(event)
            line.update((name, value) for name, value in fields.items() if name not in line)
        if error:
            line["exception"] = mask(_exception(error))
        self.count[level]()
        return _to_json(line)

    def _now(self) -> str:
        """ISO 8601 in UTC with microseconds; the date is rendered once a second."""
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        date = self._date
        if second != date[0]:
            date = self._date = second, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{date[1]}{nanoseconds // 1000:06d}Z"


class _Stdout:
    """Writes lines; asks for sys.stdout each time, because whoever captures output replaces it."""

    def __init__(self, *_arguments: Any) -> None:
        pass

    def write(self, line: str) -> None:
        # Where nobody reads any more the line is lost; the request that wrote it must not be. RuntimeError: a buffer
        # refuses a line that is logged while the same thread writes another into it.
        with _lock, contextlib.suppress(OSError, ValueError, RuntimeError):
            try:
                sys.stdout.write(line + "\n")
            except UnicodeEncodeError:
                # Half of a surrogate pair, or a terminal that is not UTF-8.
                sys.stdout.write(line.encode("ascii", "backslashreplace").decode() + "\n")
            sys.stdout.flush()

    debug = info = warning = error = exception = critical = fatal = log = msg = write


# Reentrant, as that of logging.Handler: a garbage collection within a write may log, in the same thread.
_lock = threading.RLock()
_pipeline = _Pipeline()


def configure(service: str, messages: Counter) -> None:
    """Set logging up for the process; ``messages`` counts lines by level."""
    _pipeline.service = service
    _pipeline.count = {level: messages.labels(level).inc for level in LEVELS}
    structlog.configure(
        processors=[_pipeline],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_Stdout,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(logging.INFO)
    for name in _TAKEN_OVER:
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _on_uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _on_uncaught_in_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _on_unraisable


class _ToStructlog(logging.Handler):
    """Hands records of the standard library to structlog, so that there is one format."""

    def __init__(self) -> None:
        super().__init__()
        self._loggers: dict[str, FilteringBoundLogger] = {}

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = self._loggers.get(record.name)
            if log is None:
                log = self._loggers[record.name] = get_logger(record.name).bind()
            extra = {name: value for name, value in record.__dict__.items() if name not in _NOT_EXTRA}
            if record.exc_info:
                extra["exc_info"] = record.exc_info
            try:
                message = record.getMessage()
            except Exception as error:
                # The arguments stay out of it: they may be what could not be shown.
                message = shown(record.msg)
                extra["logging_error"] = f"the arguments do not fit the message: {type(error).__name__}"
            if record.levelno >= logging.ERROR:
                log.error(message, **extra)
            elif record.levelno >= logging.WARNING:
                log.warning(message, **extra)
            else:
                log.info(message, **extra)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say that a line is lost; logging itself would write the arguments as they are, over many lines."""
        with contextlib.suppress(Exception):
            get_logger("telemetry").error("a line could not be logged", lost=record.name, exc_info=True)


def _exception(error: Any) -> Any:
    """The exception of ``exc_info``: True, an exception, or a triple; causes and contexts follow it in the list."""
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    elif not isinstance(error, tuple):
        error = sys.exc_info()
    return _explain(error) if error[0] is not None else None


def _to_json(line: dict[str, Any]) -> str:
    try:
        return _encode(line)
    except (ValueError, TypeError, RecursionError):
        # Not a number, or infinite: JSON has no word for it, and the line is worth more than its form.
        return _encode_anything({name: _plain(value) for name, value in line.items()})


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | str) or value is None else str(value)


def _on_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    get_logger("telemetry").error("uncaught exception, the process ends", exc_info=(kind, error, trace))


def _on_unraisable(hook: "sys.UnraisableHookArgs") -> None:
    name = getattr(hook.object, "__qualname__", type(hook.object).__qualname__)
    error = (hook.exc_type, hook.exc_value, hook.exc_traceback)
    get_logger("telemetry").error(
        "uncaught exception, ignored", within=name, exc_info=None if hook.exc_value is None else error
    )


def _on_uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        get_logger("telemetry").error("uncaught exception, a thread ends", exc_info=hook.exc_value)
