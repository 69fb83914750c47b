"""Generator. Needs UPSTREAM_FRONTEND, UPSTREAM_API_GATEWAY, WEBHOOK_SECRET_FILE, TRAFFIC_RATE (requests a second on
average, 0: none), TRAFFIC_SEED (a whole number). May be set: TRAFFIC_PEAK_HOUR (hour of the day, UTC).
"""

import asyncio
import contextlib
import itertools
import random
import time

import httpx
from starlette.types import ASGIApp

from telemetry import Telemetry, get_logger
from telemetry.client import plain
from traffic.curve import factor
from traffic.journey import Journey
from traffic.site import Site, accounts
from traffic.visitors import Visit, plan

TIMEOUT_SECONDS = 45.0
MAX_VISITS = 500
PATIENT_RATE = 20.0
"""Requests a second up to which visitors think as long as people do; beyond it they think less."""
READY_WITHIN_SECONDS = 90
log = get_logger("traffic")


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the generator: it serves nothing but its health and metrics."""
    settings = telemetry.settings
    rate = settings.number("TRAFFIC_RATE")
    seed = settings.whole_number("TRAFFIC_SEED")
    peak_hour = settings.number("TRAFFIC_PEAK_HOUR") if settings.environ.get("TRAFFIC_PEAK_HOUR") else None
    requests = telemetry.metrics.counter("traffic_requests_total", "Requests sent, by step.", ["step", "outcome"])
    visits = telemetry.metrics.counter("traffic_visits_total", "Visits begun, by kind of visitor.", ["visitor"])
    current = telemetry.metrics.gauge("traffic_visits_under_way", "Visits under way.")
    site = Site(
        telemetry.client("frontend", TIMEOUT_SECONDS),
        telemetry.client("api-gateway", TIMEOUT_SECONDS),
        settings.secret("WEBHOOK_SECRET_FILE"),
        accounts(seed),
        lambda step, outcome: requests.labels(step, outcome).inc(),
    )
    patience = min(1.0, PATIENT_RATE / rate) if rate else 1.0
    room = asyncio.Semaphore(MAX_VISITS)

    async def visit(planned: Visit) -> None:
        try:
            with current.track_inprogress():
                await Journey(site, planned, patience).run()
        except Exception as error:
            log.error("visit failed", visitor=planned.visitor.name, exc_info=error)
        finally:
            room.release()

    async def generate() -> None:
        await _ready(settings.upstream("api-gateway"))
        chance = random.Random(seed)
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                planned = plan(seed, number)
                await room.acquire()
                visits.labels(planned.visitor.name).inc()
                group.create_task(visit(planned))
                # The next one comes when this one's requests are paid for, so that the mean is the rate.
                seconds = planned.requests / (rate * factor(time.time(), peak_hour))
                await asyncio.sleep(seconds * chance.uniform(0.5, 1.5))

    if rate > 0:
        telemetry.background(generate)
    return telemetry.app([])


async def _ready(gateway: str) -> None:
    """Wait until the gateway and all that is behind it are healthy, or for so long that waiting is no use."""
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    async with plain(gateway, 2.0) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get("/health")).is_success:
                    return
            await asyncio.sleep(1)
    log.warning("visits begin though the gateway is not healthy")
