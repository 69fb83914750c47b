"""Configuration of one process, read from environment variables once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from telemetry.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Settings:
    """What every process needs; ``environ`` holds the rest, asked for by name.

    ``keep_ratio`` is a share of traces (0 to 1); ``keep_slower_than`` is in seconds.
    """

    service: str
    port: int
    version: str
    revision: str
    otlp_endpoint: str | None
    keep_ratio: float
    keep_slower_than: float
    environ: Mapping[str, str]

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment. Raises SettingsError, which names the variable."""
        env = os.environ if environ is None else environ
        keep_ratio = number(env, "TRACE_KEEP_RATIO", "0.1")
        if keep_ratio > 1:
            raise SettingsError(f"TRACE_KEEP_RATIO={keep_ratio}: a share of traces, so 0 to 1")
        return cls(
            service=required(env, "OTEL_SERVICE_NAME"),
            port=whole_number(env, "PORT"),
            version=required(env, "SERVICE_VERSION"),
            revision=required(env, "SERVICE_REVISION"),
            otlp_endpoint=env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None,
            keep_ratio=keep_ratio,
            keep_slower_than=number(env, "TRACE_KEEP_SLOWER_THAN_SECONDS", "1.0"),
            environ=env,
        )

    def upstream(self, name: str) -> str:
        """Base URL of the service ``name`` (``api-gateway`` is UPSTREAM_API_GATEWAY)."""
        return required(self.environ, "UPSTREAM_" + name.upper().replace("-", "_")).rstrip("/")

    def required(self, variable: str) -> str:
        """Value of a variable that has no default."""
        return required(self.environ, variable)

    def number(self, variable: str, default: str | None = None) -> float:
        """A number that is not negative."""
        return number(self.environ, variable, default)

    def secret(self, variable: str) -> str:
        """Content of the file that ``variable`` names, without surrounding white space."""
        path = required(self.environ, variable)
        try:
            content = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{variable}={path}: cannot be read: {error.strerror}") from error
        if not content:
            raise SettingsError(f"{variable}={path}: the file is empty")
        return content

    def optional_secret(self, variable: str) -> str | None:
        """Like ``secret``; None where the variable is not set."""
        return self.secret(variable) if self.environ.get(variable) else None


def required(env: Mapping[str, str], variable: str) -> str:
    """Value of ``variable``; SettingsError where it is missing or empty."""
    value = env.get(variable, "").strip()
    if not value:
        raise SettingsError(f"{variable} is required and not set")
    return value


def number(env: Mapping[str, str], variable: str, default: str | None = None) -> float:
    """Value of ``variable`` as a number of at least 0."""
    text = required(env, variable) if default is None else env.get(variable) or default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{variable}={text}: not a number") from None
    if not 0 <= value < float("inf"):
        raise SettingsError(f"{variable}={text}: must be a finite number of at least 0")
    return value


def whole_number(env: Mapping[str, str], variable: str) -> int:
    """Value of ``variable`` as a whole number of at least 0."""
    value = number(env, variable)
    if value != int(value):
        raise SettingsError(f"{variable}={value}: not a whole number")
    return int(value)
