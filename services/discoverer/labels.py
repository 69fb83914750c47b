"""What a container says of itself: the labels ``lookout.*``, and what is wrong with them."""

import re
from dataclasses import dataclass
from typing import Any

SERVICE, PORT, TEAM, PATH = "lookout.service", "lookout.port", "lookout.team", "lookout.path"
OWN = {"lookout.recipe", "lookout.config"}
"""Labels of the bundle's own images and containers, which say nothing of a target."""
DEFAULT_PATH = "/metrics"

_SLUG = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")


class Malformed(Exception):
    """A label is missing or wrong; the message names it and says what it should be."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A running container that claims to be a service. ``created`` in Unix seconds."""

    id: str
    container: str
    service: str
    port: int
    team: str
    path: str
    created: float
    networks: frozenset[str]

    @property
    def target(self) -> dict[str, Any]:
        """The entry for Prometheus (file_sd), with the labels of a service of the model.

        The address is the container's name: it is still the same after a restart, which gives it another IP address.
        """
        path = {} if self.path == DEFAULT_PATH else {"__metrics_path__": self.path}
        labels = {"service": self.service, "team": self.team, "tier": "standard", **path}
        return {"targets": [f"{self.container}:{self.port}"], "labels": labels}


def name_of(container: dict[str, Any]) -> str:
    """The name of a container of the engine's list; a name with two slashes is a link of another one to it."""
    names: list[str] = container["Names"]
    return next((name[1:] for name in names if "/" not in name[1:]), str(container["Id"])[:12])


def read(container: dict[str, Any]) -> Claim:
    """The claim of one container of the engine's list. Raises Malformed."""
    labels: dict[str, str] = container["Labels"]
    unknown = sorted(labels.keys() - OWN - {SERVICE, PORT, TEAM, PATH})
    if unknown:
        raise Malformed(f"{unknown[0]} is no label that is known: {SERVICE}, {PORT}, {TEAM}, {PATH}")
    port = _matching(labels, PORT, re.compile(r"[0-9]{1,5}"), "a port of 1 to 65535")
    if not 1 <= int(port) <= 65535:
        raise Malformed(f"{PORT}={port}: must be a port of 1 to 65535")
    name = "a name of 2 to 40 lower-case letters, digits and dashes, from a letter on"
    return Claim(
        id=container["Id"],
        container=name_of(container),
        service=_matching(labels, SERVICE, _SLUG, name),
        port=int(port),
        team=_matching(labels, TEAM, _SLUG, name),
        path=_matching({PATH: DEFAULT_PATH, **labels}, PATH, _PATH, "a path from a slash on, without a query"),
        created=float(container["Created"]),
        networks=frozenset(container["NetworkSettings"]["Networks"]),
    )


def _matching(labels: dict[str, str], name: str, form: re.Pattern[str], expected: str) -> str:
    value = labels.get(name)
    if value is None:
        raise Malformed(f"{name} is missing: it must be {expected}")
    if not form.fullmatch(value):
        raise Malformed(f"{name}={value[:60]!r}: must be {expected}")
    return value
