"""Asks the engine's proxy every few seconds, and writes what it finds to DATA_DIR.

    DELETE /services/{name}   forget a service that does not run any more; from this container itself only

Needs UPSTREAM_ENGINE_PROXY, KNOWN_NAMES and SHARED_NETWORKS (comma-separated; the recommended network first).
"""

import asyncio
from pathlib import Path
from typing import Any

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from discoverer.claims import REASONS, Refusal, Rules
from discoverer.targets import Targets
from telemetry import SettingsError, Telemetry, client, get_logger

ENGINE = "engine-proxy"
EVERY_SECONDS = 5.0
TIMEOUT_SECONDS = 3.0
log = get_logger("discoverer")


class Discoverer:
    """Containers in, targets out."""

    def __init__(self, telemetry: Telemetry, rules: Rules, targets: Targets) -> None:
        self._rules = rules
        self._targets = targets
        self._engine = telemetry.settings.upstream(ENGINE)
        self._lock = asyncio.Lock()
        self._refused: set[Refusal] = set()
        self._running: set[str] = set()
        self._failing: str | None = "has not been asked yet"
        gauge, counter = telemetry.metrics.gauge, telemetry.metrics.counter
        self._found = gauge("discovered_services", "Services that were discovered and not forgotten.")
        self._errors = counter("discovery_errors_total", "Containers refused, and rounds that failed.", ["reason"])
        for reason in (*REASONS, "engine", "file"):
            self._errors.labels(reason)
        self._found.set(len(targets))

    async def run(self) -> None:
        """Look around for ever; a round that fails changes no target."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """One round. One at a time: an older answer never undoes what a newer one led to."""
        async with self._lock:
            try:
                async with client.plain(self._engine, TIMEOUT_SECONDS) as engine:
                    answer = await engine.get("/containers/json")
                if answer.status_code != 200:
                    raise ValueError(f"HTTP {answer.status_code}: {answer.text[:200]}")
                self._judge(answer.json())
            except OSError as error:
                self._failed("file", f"{error.filename}: {error.strerror}")
            except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
                self._failed("engine", f"{type(error).__name__}: {error}")
            else:
                self._failing = None

    async def check(self) -> None:
        """Raises RuntimeError while rounds fail."""
        if self._failing:
            raise RuntimeError(self._failing)

    async def forget(self, request: Request) -> Response:
        """Forget one: 404 where it is not kept, 409 where it still runs, for it would be found again."""
        if request.client is None or request.client.host != "127.0.0.1":
            raise HTTPException(403, "services are forgotten from within the container only: lookout forget")
        service = request.path_params["name"]
        if self._targets.container(service) is None:
            there = ", ".join(self._targets) or "none"
            raise HTTPException(404, f'"{service}" was not discovered; there are: {there}')
        await self.look()
        if self._failing:
            raise HTTPException(503, f"whether it still runs is not known: {self._failing}")
        if service in self._running:
            raise HTTPException(409, f"{self._targets.container(service)} still runs: stop it first")
        self._targets.forget([service])
        self._found.set(len(self._targets))
        log.info("forgotten", discovered=service)
        return JSONResponse({"forgotten": service})

    def _judge(self, containers: list[dict[str, Any]]) -> None:
        claims, refusals = self._rules.judge(containers, self._targets.container)
        for refusal in refusals:
            # Once for each, however long the container stays.
            if refusal not in self._refused:
                log.warning("container refused", container=refusal.container, reason=refusal.reason, why=refusal.why)
                self._errors.labels(refusal.reason).inc()
        self._refused = set(refusals)
        for claim in self._targets.keep(claims):
            log.info("discovered", discovered=claim.service, target=claim.target["targets"][0], team=claim.team)
        self._running = {claim.service for claim in claims}
        self._found.set(len(self._targets))

    def _failed(self, reason: str, why: str) -> None:
        if why != self._failing:
            log.error("discovery fails; targets stay as they are", reason=reason, why=why)
        self._failing = why
        self._errors.labels(reason).inc()


def create(telemetry: Telemetry) -> Discoverer:
    """The discoverer of these settings. Raises SettingsError, also where what it kept cannot be read."""
    settings = telemetry.settings
    rules = Rules(settings.required("KNOWN_NAMES").split(","), settings.required("SHARED_NETWORKS").split(","))
    targets = Targets(Path(settings.required("DATA_DIR")))
    try:
        targets.load()
        overtaken = [service for service in targets if service in rules.known]
        if overtaken:
            log.warning("now in the model, and no longer discovered", services=overtaken)
            targets.forget(overtaken)
    except (OSError, ValueError) as error:
        raise SettingsError(f"DATA_DIR: {error}: mend the file or remove it") from error
    return Discoverer(telemetry, rules, targets)


def serve(telemetry: Telemetry, discoverer: Discoverer) -> ASGIApp:
    """The application that runs a discoverer."""
    telemetry.health.add(ENGINE, discoverer.check)
    telemetry.background(discoverer.run)
    return telemetry.app([Route("/services/{name}", discoverer.forget, methods=["DELETE"])])


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the discoverer."""
    return serve(telemetry, create(telemetry))
