"""What can go wrong with configuration and with what a service depends on.

Exception
├── SettingsError          the environment lacks a variable or holds a wrong one: exit 2, no traceback
└── DependencyError        a declared dependency did not do its part; answered as 502, 503 or 504
    ├── Unreachable        refused, reset, name not found
    ├── TimedOut           no answer in time
    ├── CircuitOpen        not asked: it failed too often just now
    ├── Unwritable         it answers, but takes no writes: it is full, read-only, or could not save
    └── AuditUnavailable   the audit log could not be written, so what was asked is refused
"""

FAILED_HEADER = "x-failed-dependency"
"""In an answer of 5xx: what failed is this dependency of the service that answers, not the service itself."""


class SettingsError(Exception):
    """An environment variable is missing or wrong; the message names it."""


class DependencyError(Exception):
    """A dependency failed; ``status`` is the HTTP status that the caller should see."""

    status = 502
    code = "dependency_failed"

    def __init__(self, dependency: str, reason: str) -> None:
        super().__init__(f"{dependency}: {reason}")
        self.dependency = dependency
        self.reason = reason


class Unreachable(DependencyError):
    """The connection was refused or broken."""

    code = "dependency_unreachable"


class TimedOut(DependencyError):
    """The dependency did not answer in time."""

    status = 504
    code = "dependency_timeout"


class CircuitOpen(DependencyError):
    """The circuit breaker is open: the dependency was not asked."""

    status = 503
    code = "circuit_open"


class Unwritable(DependencyError):
    """The dependency takes no writes: it is full, a replica, or could not save. It can still be read."""

    status = 503
    code = "dependency_unwritable"


class AuditUnavailable(DependencyError):
    """The event could not be stored in the audit log: the action is refused."""

    status = 503
    code = "audit_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__("audit log", reason)
