import asyncio
import time

from telemetry import Telemetry
from telemetry.health import Check
from tests.unit.services.helpers import LogLines, MakeTelemetry


async def up() -> None:
    return None


async def down() -> None:
    raise ConnectionError("refused")


async def hanging() -> None:
    await asyncio.sleep(60)


def dependency_up(telemetry: Telemetry, name: str) -> float | None:
    return telemetry.metrics.registry.get_sample_value("dependency_up", {"dependency": name})


def test_healthy_is_200_and_names_each_dependency(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    telemetry.health.add("cache", up)
    status, body = asyncio.run(telemetry.health.report())
    assert status == 200
    assert body["status"] == "healthy"
    assert (body["service"], body["version"]) == ("shop", "1.2.3")
    assert body["memory_bytes"] > 1_000_000
    assert body["dependencies"]["cache"]["status"] == "up"
    assert dependency_up(telemetry, "cache") == 1


def test_one_failed_dependency_is_503_and_the_others_stay_up(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    telemetry.health.add("cache", up)
    telemetry.health.add("database", down)
    status, body = asyncio.run(telemetry.health.report())
    assert (status, body["status"]) == (503, "degraded")
    assert body["dependencies"]["cache"]["status"] == "up"
    assert body["dependencies"]["database"]["status"] == "down"
    assert body["dependencies"]["database"]["error"] == "ConnectionError: refused"
    assert (dependency_up(telemetry, "cache"), dependency_up(telemetry, "database")) == (1, 0)


def test_hanging_dependencies_are_bounded_and_checked_together(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    for number in range(5):
        telemetry.health.add(f"hanging-{number}", hanging, timeout=0.3)
    start = time.perf_counter()
    status, body = asyncio.run(telemetry.health.report())
    assert time.perf_counter() - start < 1.2
    assert status == 503
    assert body["dependencies"]["hanging-0"]["error"] == "no answer in 0.3 s"


def test_no_check_may_take_longer_than_a_second() -> None:
    async def ask() -> float:
        start = time.perf_counter()
        await Check("slow", hanging, timeout=30).run()
        return time.perf_counter() - start

    assert asyncio.run(ask()) < 2


def test_concurrent_callers_share_one_probe() -> None:
    asked = []

    async def probe() -> None:
        asked.append(1)
        await asyncio.sleep(0.01)

    async def ask() -> None:
        check = Check("shared", probe)
        await asyncio.gather(*(check.run() for _ in range(20)))

    asyncio.run(ask())
    assert len(asked) == 1


def test_a_scrape_brings_dependency_up_up_to_date_even_where_a_measure_fails(
    make_telemetry: MakeTelemetry,
) -> None:
    telemetry = make_telemetry()
    telemetry.health.add("database", down)
    telemetry.before_scrape(down)
    asyncio.run(telemetry.measure())
    assert dependency_up(telemetry, "database") == 0


def test_only_a_change_of_state_is_logged(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    telemetry = make_telemetry()
    telemetry.health.add("database", down)

    async def ask() -> None:
        await telemetry.health.report()
        await telemetry.health.report()

    asyncio.run(ask())
    assert [(line["level"], line["message"]) for line in log_lines()] == [("warning", "dependency is down")]
