"""The scalar types of the model: durations, sizes, shares, names. Each refuses what it cannot mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Annotated, Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Form:
    """The form of a text: a pattern, and the words that say to people what it expects."""

    pattern: str
    expects: str

    def check(self, value: Any) -> str:
        """The value, when it has the form. Raises PydanticCustomError of the kind ``text``."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value, re.ASCII):
            raise self.refused(value)
        return value

    def refused(self, value: Any) -> PydanticCustomError:
        """What is said of a value without the form."""
        return PydanticCustomError(
            "text", "is {got}; expected {expects}", {"got": repr(value), "expects": self.expects}
        )

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.check, serialization=core_schema.to_string_ser_schema()
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": f"^({self.pattern})$", "description": self.expects}


_PORT = r"([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
# As the engine reads them, which takes a first part with a dot or a port for a host:
# https://pkg.go.dev/github.com/distribution/reference
_REGISTRY = rf"(?=[^/]*[.:]|localhost/)[A-Za-z0-9]+((\.|-+)[A-Za-z0-9]+)*(:{_PORT})?/"
_PART = r"[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*"

Slug = Annotated[
    str,
    Form(
        r"[a-z][a-z0-9-]{0,38}[a-z0-9]",
        'a name of 2 to 40 lower-case letters, digits and dashes, from a letter on, such as "api-gateway"',
    ),
]
ImageReference = Annotated[
    str,
    Form(
        rf"({_REGISTRY})?{_PART}(/{_PART})*" r":(?!latest(@|$))\w[\w.-]{0,127}(@sha256:[0-9a-f]{64})?",
        'an image with its tag, which is not "latest", such as "grafana/loki:3.7.6"',
    ),
]
Words = Annotated[str, Form(r"\S(.*\S)?", "some text")]
MailAddress = Annotated[str, Form(r"[^\s@]([^@]*[^\s@])?@\S([^@]*\S)?", 'an address such as "ops@example.com"')]
IPv4 = Annotated[str, Form(r"\d{1,3}(\.\d{1,3}){3}", 'an IPv4 address, such as "127.0.0.1"')]
Version = Annotated[str, Form(r"\d+\.\d+\.\d+", 'a version such as "0.1.0"')]
Place = Annotated[
    str,
    Form(
        r"[A-Za-z0-9._~:/?&=%+-]*[^/\s#{}]",
        'a folder or an address without a slash at its end, such as "docs/runbooks"',
    ),
]


class _Text(str):
    """A string with a pattern of its own, whose meaning a subclass gives."""

    pattern: ClassVar[str]
    expects: ClassVar[str]

    @classmethod
    def parse(cls, value: Any) -> Self:
        form = Form(cls.pattern, cls.expects)
        found = cls(form.check(value))
        if not found.possible:
            raise form.refused(value)
        return found

    @property
    def possible(self) -> bool:
        """Whether there is such a thing: a pattern cannot say everything."""
        return True

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return Form(cls.pattern, cls.expects).__get_pydantic_json_schema__(_schema, _handler)


class Duration(_Text):
    """A Prometheus duration with one unit, such as ``250ms``, ``15s`` or ``30d``."""

    pattern = r"[1-9]\d{0,12}(ms|s|m|h|d|w|y)"
    expects = 'a duration such as "250ms", "15s", "5m" or "30d", of 292y at most'
    longest: ClassVar[float] = 292 * 365 * 86400
    """Seconds; Go counts nanoseconds in 63 bits: https://pkg.go.dev/time#Duration"""
    units: ClassVar[dict[str, float]] = {
        "ms": 0.001,
        "s": 1,
        "m": 60,
        "h": 3600,
        "d": 86400,
        "w": 7 * 86400,
        "y": 365 * 86400,
    }

    @property
    def possible(self) -> bool:
        """Whether it is not too long."""
        return self.seconds <= self.longest

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        number, unit = re.fullmatch(r"(\d+)(\w+)", self).groups()  # type: ignore[union-attr]
        return int(number) * self.units[unit]

    @property
    def milliseconds(self) -> int:
        """Length in whole milliseconds."""
        return round(self.seconds * 1000)

    @property
    def hours(self) -> str:
        """The same length in hours, for programs that know no days (Loki, Tempo)."""
        return f"{round(self.seconds / 3600)}h"


class Size(_Text):
    """An amount of memory, such as ``256MiB`` or ``2GiB``; the engine sets no limit below 6 MB."""

    pattern = r"([6-9]|[1-9]\d{1,6})MiB|[1-9]\d{0,3}GiB"
    expects = 'an amount of memory such as "256MiB" or "2GiB", of 6MiB at least'

    @property
    def bytes(self) -> int:
        """The amount in bytes."""
        return int(self[:-3]) * (1024**2 if self.endswith("MiB") else 1024**3)

    @property
    def mebibytes(self) -> int:
        """The amount in MiB."""
        return self.bytes // 1024**2


class Percent(_Text):
    """A share written as a percentage, such as ``5%`` or ``99.9%``."""

    pattern = r"(100(\.0+)?|\d{1,2}(\.\d+)?)%"
    expects = 'a percentage from 0% to 100%, such as "5%" or "99.9%"'

    @property
    def number(self) -> float:
        """The percentage as a number from 0 to 100."""
        return float(self[:-1])

    @property
    def ratio(self) -> float:
        """The share as a number from 0 to 1."""
        return round(self.number / 100, 10)


class Address(_Text):
    """A host and a port, such as ``host.docker.internal:9400``."""

    pattern = rf"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:{_PORT}"
    expects = 'host:port, such as "billing.internal:9400"'


class Url(_Text):
    """An http(s) address, without a login: that would be a secret."""

    pattern = (
        rf"https?://([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:{_PORT})?"
        r"([/?#]([!-$&-~]|%[0-9A-Fa-f]{2})*)?"
    )
    expects = 'an address such as "http://receiver:7110/"'

    @property
    def possible(self) -> bool:
        """Whether what stands in brackets is an IPv6 address, as Go's url.Parse wants it."""
        try:
            return not (host := re.match(r"https?://\[(.*?)\]", self)) or bool(IPv6Address(host[1]))
        except AddressValueError:
            return False


class SecretFile(_Text):
    """The path of a file with a secret, relative to the folder of the model."""

    pattern = r"secrets/[A-Za-z0-9_.-]*[A-Za-z0-9_-]"
    expects = 'the path of a file in secrets/, such as "secrets/pagerduty"'

    @property
    def name(self) -> str:
        """The name under which containers see the secret."""
        return self.removeprefix("secrets/")
