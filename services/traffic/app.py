"""Generator. Needs UPSTREAM_FRONTEND, TRAFFIC_RATE (requests a second, 0: none), TRAFFIC_SEED (a number)."""

import asyncio
import hashlib
import math
import random

from starlette.types import ASGIApp

from telemetry import Telemetry
from traffic.journey import Account, Journey
from traffic.pace import Pace

TIMEOUT_SECONDS = 45.0
MAX_JOURNEYS = 200


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the generator: it serves nothing but its health and metrics."""
    rate = telemetry.settings.number("TRAFFIC_RATE")
    seed = int(telemetry.settings.number("TRAFFIC_SEED"))
    frontend = telemetry.client("frontend", TIMEOUT_SECONDS)
    requests = telemetry.metrics.counter("traffic_requests_total", "Requests sent, by step.", ["step", "outcome"])
    # The user exists for this traffic only and is made by it; the password is the same after a restart.
    password = hashlib.sha256(f"lookout traffic {seed}".encode()).hexdigest()[:24]
    account = Account(f"traffic-{seed}@lookout.invalid", password)

    def count(step: str, outcome: str) -> None:
        requests.labels(step, outcome).inc()

    async def travel(number: int, pace: Pace) -> None:
        journey = Journey(frontend, pace, random.Random(seed * MAX_JOURNEYS + number), account, count)
        while True:
            await journey.run()

    async def generate() -> None:
        pace = Pace(rate)
        # Twice as many as turns in a second: the rate holds as long as an answer takes less than 2 s.
        async with asyncio.TaskGroup() as group:
            for number in range(min(2 * math.ceil(rate), MAX_JOURNEYS)):
                group.create_task(travel(number, pace))

    if rate > 0:
        telemetry.background(generate)
    return telemetry.app([])
