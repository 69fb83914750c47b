"""Which claims hold: of the containers that are there, those that may become targets, and why the others may not."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from discoverer.labels import Claim, Malformed, name_of, read

Reason = Literal["malformed", "known", "network", "taken"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A container that becomes no target, and why."""

    id: str
    container: str
    reason: Reason
    why: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Names that the model has already, and the networks on which Prometheus reaches a container."""

    known: Collection[str]
    networks: Sequence[str]

    def judge(
        self, containers: Iterable[dict[str, Any]], seen_in: Callable[[str], str | None]
    ) -> tuple[list[Claim], list[Refusal]]:
        """The claims that hold, one for each service, and the refusals.

        Where several containers claim a service, the one that it was last seen in (``seen_in``) keeps it, or else the
        oldest of them gets it.
        """
        claims: dict[str, list[Claim]] = {}
        refusals: list[Refusal] = []
        for container in containers:
            if self._is_anothers(container):
                continue
            claim = self._claim(container)
            if isinstance(claim, Refusal):
                refusals.append(claim)
            else:
                claims.setdefault(claim.service, []).append(claim)
        held = []
        for service, rivals in sorted(claims.items()):
            rivals.sort(key=lambda claim: (claim.container != seen_in(service), claim.created, claim.id))
            held.append(rivals[0])
            why = f'"{service}" is claimed by {rivals[0].container} already: stop one of them, or rename it'
            refusals += [Refusal(claim.id, claim.container, "taken", why) for claim in rivals[1:]]
        return held, refusals

    def _is_anothers(self, container: dict[str, Any]) -> bool:
        """Whether it is a guest of another stack like this one, whose discoverer looks after it."""
        on = set(container["NetworkSettings"]["Networks"])
        guests = "_" + self.networks[0].rpartition("_")[2]
        return not on & set(self.networks) and any(network.endswith(guests) for network in on)

    def _claim(self, container: dict[str, Any]) -> Claim | Refusal:
        name = name_of(container)

        def refuse(reason: Reason, why: str) -> Refusal:
            return Refusal(container["Id"], name, reason, why)

        try:
            claim = read(container)
        except Malformed as error:
            return refuse("malformed", str(error))
        if claim.service in self.known:
            return refuse("known", f'"{claim.service}" is a name of the model: give it another')
        if name in self.known:
            return refuse("known", f'"{name}" is a host of the bundle, not to be told apart: rename the container')
        if not claim.networks & set(self.networks):
            return refuse(
                "network", f"shares no network with Prometheus: docker network connect {self.networks[0]} {name}"
            )
        return claim
