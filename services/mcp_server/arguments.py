"""Arguments of tools: the JSON schema that a client reads, and the check against it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from telemetry import web

Arguments = Mapping[str, Any]


class BadArguments(Exception):
    """The arguments are not what the tool's schema says; the message tells what is wrong."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text of 1 to ``max_length`` characters."""

    description: str
    max_length: int
    choices: tuple[str, ...] = ()
    default: str | None = None

    def schema(self) -> dict[str, Any]:
        """JSON schema."""
        found: dict[str, Any] = {"type": "string", "description": self.description, "minLength": 1}
        found["maxLength"] = self.max_length
        return found | ({"enum": list(self.choices)} if self.choices else {})

    def read(self, name: str, value: Any) -> str:
        """``value``, where it is right."""
        if not isinstance(value, str) or not 0 < len(value) <= self.max_length:
            raise BadArguments(f"{name} must be text of 1 to {self.max_length} characters")
        if not web.storable(value):
            raise BadArguments(f"{name} has a NUL character or half of a surrogate pair in it")
        if self.choices and value not in self.choices:
            raise BadArguments(f"{name} must be one of {', '.join(self.choices)}")
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``minimum`` to ``maximum``."""

    description: str
    minimum: int
    maximum: int
    default: int | None = None

    def schema(self) -> dict[str, Any]:
        """JSON schema."""
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "integer", "description": self.description, **bounds}

    def read(self, name: str, value: Any) -> int:
        """``value``, where it is right."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.minimum <= value <= self.maximum:
            raise BadArguments(f"{name} must be a whole number from {self.minimum} to {self.maximum}")
        return value


Parameters = Mapping[str, Text | Whole]


def schema(parameters: Parameters) -> dict[str, Any]:
    """JSON schema of the arguments of a tool; what has no default is required."""
    return {
        "type": "object",
        "properties": {name: parameter.schema() for name, parameter in parameters.items()},
        "required": [name for name, parameter in parameters.items() if parameter.default is None],
        "additionalProperties": False,
    }


def read(parameters: Parameters, arguments: Arguments) -> dict[str, Any]:
    """The arguments with defaults filled in. Raises BadArguments."""
    if unknown := sorted(set(arguments) - set(parameters)):
        raise BadArguments(f"no such argument: {', '.join(unknown)[:100]}")
    return {
        name: parameter.default
        if name not in arguments and parameter.default is not None
        else parameter.read(name, arguments.get(name))
        for name, parameter in parameters.items()
    }
