import asyncio
import contextlib
import time

import pytest

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


def test_a_check_that_ignores_cancellation_holds_up_nobody_and_is_not_started_again() -> None:
    started = []

    async def stubborn() -> None:
        started.append(1)
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(end - time.monotonic())

    async def ask() -> list[tuple[float, str | None]]:
        check = Check("stubborn", stubborn, timeout=0.2, cache=0)
        found = []
        for _ in range(3):
            start = time.perf_counter()
            outcome = await check.run()
            found.append((time.perf_counter() - start, outcome.error))
        await asyncio.sleep(0.7)
        return found

    first, *others = asyncio.run(ask())
    assert (first[0] < 0.5, first[1]) == (True, "no answer in 0.2 s")
    for seconds, error in others:
        assert seconds < 0.1
        assert error == "no answer, and the check before has not ended yet"
    assert len(started) == 1


def test_a_caller_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    async def ask() -> str | None:
        check = Check("shared", up_slowly)
        leaving, staying = asyncio.create_task(check.run()), asyncio.create_task(check.run())
        await asyncio.sleep(0)
        leaving.cancel()
        return (await staying).error

    async def up_slowly() -> None:
        await asyncio.sleep(0.05)

    assert asyncio.run(ask()) is None


def test_an_outcome_is_kept_for_the_time_of_its_check() -> None:
    asked = []

    async def probe() -> None:
        asked.append(1)

    async def ask(cache: float) -> None:
        check = Check("cached", probe, cache=cache)
        for _ in range(3):
            await check.run()

    asyncio.run(ask(60))
    assert len(asked) == 1
    asyncio.run(ask(0))
    assert len(asked) == 4


def test_the_error_of_a_check_is_masked() -> None:
    async def probe() -> None:
        raise ConnectionError("redis://:hunter2@redis:6379 refused")

    assert asyncio.run(Check("cache", probe).run()).error == "ConnectionError: redis://***@redis:6379 refused"


def test_a_measure_that_hangs_holds_up_neither_a_scrape_nor_the_other_measures(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = make_telemetry()
    ran = []

    async def quick() -> None:
        ran.append(1)

    telemetry.before_scrape(hanging)
    telemetry.before_scrape(quick)
    monkeypatch.setattr("telemetry.app.TIMEOUT_SECONDS", 0.1)

    async def scrape() -> float:
        start = time.perf_counter()
        await telemetry.measure()
        await telemetry.measure()
        return time.perf_counter() - start

    assert asyncio.run(scrape()) < 1
    assert len(ran) == 2


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
