"""Configuration of one process, read from environment variables once; OpenTelemetry's names where they exist."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from telemetry.errors import SettingsError

UNKNOWN = "unknown"
VERSION = "service.version"
HTTP = "http/protobuf"
REVISION = "vcs.ref.head.revision"
# Samplers of the OpenTelemetry specification that say which share is kept without an argument.
_FIXED_SHARES = {"always_on": "1", "parentbased_always_on": "1", "always_off": "0", "parentbased_always_off": "0"}
_RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every process needs; ``environ`` holds the rest, asked for by name.

    ``keep_ratio`` is a share of traces (0 to 1), ``keep_slower_than`` is in seconds; ``resource`` are further
    attributes of the traces' resource. Without ``otlp_endpoint`` spans are made, for ids and exemplars, and not sent.
    """

    service: str
    port: int = 8000
    version: str = UNKNOWN
    revision: str = UNKNOWN
    otlp_endpoint: str | None = None
    keep_ratio: float = 0.1
    keep_slower_than: float = 1.0
    resource: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment; OTEL_SERVICE_NAME alone is required. Raises SettingsError, which names the variable."""
        env = os.environ if environ is None else environ
        resource = _resource_attributes(env)
        return cls(
            service=required(env, "OTEL_SERVICE_NAME"),
            port=_port(env),
            version=resource.get(VERSION) or UNKNOWN,
            revision=resource.get(REVISION) or UNKNOWN,
            otlp_endpoint=_endpoint(env),
            keep_ratio=_keep_ratio(env),
            keep_slower_than=number(env, "TRACE_KEEP_SLOWER_THAN_SECONDS", "1.0"),
            resource=resource,
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

    def whole_number(self, variable: str, default: str | None = None, minimum: int = 0) -> int:
        """A whole number of at least ``minimum``."""
        return whole_number(self.environ, variable, default, minimum)

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
    text = _given(env, variable, default)
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{variable}={text}: not a number") from None
    if not 0 <= value < float("inf"):
        raise SettingsError(f"{variable}={text}: must be a finite number of at least 0")
    return value


def whole_number(env: Mapping[str, str], variable: str, default: str | None = None, minimum: int = 0) -> int:
    """Value of ``variable`` as a whole number of at least ``minimum``."""
    value = number(env, variable, default)
    if value != int(value) or value < minimum:
        text = _given(env, variable, default)
        raise SettingsError(f"{variable}={text}: must be a whole number of at least {minimum}")
    return int(value)


def _given(env: Mapping[str, str], variable: str, default: str | None) -> str:
    return required(env, variable) if default is None else env.get(variable) or default


def _port(env: Mapping[str, str]) -> int:
    port = whole_number(env, "PORT", "8000")
    if port > 65535:
        raise SettingsError(f"PORT={env['PORT']}: a port is at most 65535")
    return port


def _endpoint(env: Mapping[str, str]) -> str | None:
    protocol = env.get("OTEL_EXPORTER_OTLP_PROTOCOL") or HTTP
    if protocol != HTTP:
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: traces are sent as {HTTP} alone")
    return env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None


def _keep_ratio(env: Mapping[str, str]) -> float:
    sampler = env.get("OTEL_TRACES_SAMPLER") or "traceidratio"
    if sampler in _FIXED_SHARES:
        return float(_FIXED_SHARES[sampler])
    if sampler not in _RATIO_SAMPLERS:
        known = ", ".join((*_FIXED_SHARES, *_RATIO_SAMPLERS))
        raise SettingsError(f"OTEL_TRACES_SAMPLER={sampler}: must be one of {known}")
    share = number(env, "OTEL_TRACES_SAMPLER_ARG", "0.1")
    if share > 1:
        raise SettingsError(f"OTEL_TRACES_SAMPLER_ARG={env['OTEL_TRACES_SAMPLER_ARG']}: a share of traces, so 0 to 1")
    return share


def _resource_attributes(env: Mapping[str, str]) -> dict[str, str]:
    """OTEL_RESOURCE_ATTRIBUTES: ``key=value,key=value``, values percent-encoded (Resource SDK specification)."""
    text = env.get("OTEL_RESOURCE_ATTRIBUTES", "")
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f'OTEL_RESOURCE_ATTRIBUTES={text}: "{pair}" is not key=value')
        found[key.strip()] = unquote(value.strip())
    return found
