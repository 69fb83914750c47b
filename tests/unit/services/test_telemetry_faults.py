"""Faults on demand: bounded, listed, ended by themselves, and absent unless they are turned on."""

import asyncio
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from telemetry import Telemetry, Unreachable, faults
from telemetry.faults import BadFault, Faults, Injected, effects
from telemetry.faults.listener import Listener, app
from telemetry.faults.routes import around
from telemetry.health import memory_bytes
from tests.unit.services.helpers import Browser, LogLines, MakeTelemetry


@pytest.fixture(autouse=True)
def no_fault_stays() -> Iterator[None]:
    """Those of the process are shared by all tests."""
    yield
    faults.FAULTS.clear("the test is over")


def within_loop(work: Callable[[], Awaitable[None]]) -> None:
    """Runs a test's work in an event loop of its own, and ends what it started."""

    async def run() -> None:
        await work()
        faults.FAULTS.clear("the test is over")

    asyncio.run(run())


def wrong(wanted: dict[str, Any]) -> str:
    """What a process with a queue and a database says to a fault that cannot be."""
    known = Faults()
    known.hook("queue_stall")
    known.declare("postgres")
    with pytest.raises(BadFault) as caught:
        known.start(wanted)
    assert known.bodies() == []
    return str(caught.value)


def test_a_fault_that_cannot_be_is_refused_with_what_can_be() -> None:
    assert 'did you mean "errors"?' in wrong({"kind": "error", "seconds": 5})
    assert "known are: " in wrong({"kind": None})
    assert "it can have: errors" in wrong({"kind": "token_burn", "factor": 5, "seconds": 5})
    assert "takes no 'share'" in wrong({"kind": "crash", "share": 0.5, "seconds": 5})
    assert 'did you mean "postgres"?' in wrong({"kind": "unreachable", "dependency": "postgre", "seconds": 5})
    assert wrong({"kind": "unreachable", "seconds": 5}) == "dependency is required: postgres"
    assert "['postgres'] is no dependency" in wrong({"kind": "unreachable", "dependency": ["postgres"], "seconds": 5})
    assert "there is no kind ['errors']" in wrong({"kind": ["errors"], "seconds": 5})
    assert "'redis' is no dependency" in wrong({"kind": "unreachable", "dependency": "redis", "seconds": 5})
    assert "share is 1.5: give a number from 0.01 to 1" in wrong({"kind": "errors", "share": 1.5, "seconds": 5})
    assert "delay is required: a number from 0.001 to 120 (seconds)" in wrong({"kind": "delay", "seconds": 5})


@pytest.mark.parametrize("seconds", [None, 0, -1, 1801, "5", True, float("nan"), float("inf")])
def test_a_fault_without_a_bounded_time_is_refused(seconds: Any) -> None:
    assert "seconds is" in wrong({"kind": "errors", "seconds": seconds})


def test_a_fault_ends_by_itself_and_both_ends_are_warnings(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    make_telemetry()

    async def work() -> None:
        fault = faults.FAULTS.start({"kind": "errors", "seconds": 1, "share": 0.5})
        assert faults.active("errors") is fault
        assert faults.FAULTS.bodies()[0]["left"] > 0.5
        async with asyncio.timeout(2):
            await fault.over.wait()
        assert faults.active("errors") is None
        assert faults.FAULTS.bodies() == []

    within_loop(work)
    lines = [line for line in log_lines() if line["logger"] == "telemetry.faults"]
    assert [(line["level"], line["message"], line["kind"]) for line in lines] == [
        ("warning", "fault begins", "errors"),
        ("warning", "fault ends", "errors"),
    ]
    assert lines[1]["why"] == "its time is up"


def test_a_fault_takes_the_place_of_one_of_its_kind_and_outlives_its_time(make_telemetry: MakeTelemetry) -> None:
    make_telemetry()

    async def work() -> None:
        first = faults.FAULTS.start({"kind": "errors", "seconds": 1})
        second = faults.FAULTS.start({"kind": "errors", "seconds": 60})
        assert first.over.is_set()
        await asyncio.sleep(1.1)
        assert faults.active("errors") is second

    within_loop(work)


@pytest.mark.parametrize(("share", "hits"), [(1, 20), (0.5, 10), (0.25, 5), (0.1, 2)])
def test_a_share_is_met_exactly(share: float, hits: int) -> None:
    fault = faults.Fault("errors", {"share": share}, None, 1, time.monotonic())
    assert sum(fault.strikes() for _ in range(20)) == hits


def test_a_hook_does_nothing_without_a_fault() -> None:
    hook = Faults().hook("token_burn")
    assert not hook.strikes()
    assert hook.scaled(7) == 7
    hook.fail()
    asyncio.run(hook.wait())


def test_a_hook_strikes_while_its_fault_is_at_work(make_telemetry: MakeTelemetry) -> None:
    make_telemetry()
    mine = Faults()
    tokens, tool, queue = mine.hook("token_burn"), mine.hook("tool_failure"), mine.hook("queue_stall")

    async def work() -> None:
        mine.start({"kind": "token_burn", "factor": 10, "seconds": 60})
        mine.start({"kind": "tool_failure", "seconds": 60})
        mine.start({"kind": "queue_stall", "seconds": 60})
        assert tokens.scaled(7) == 70
        with pytest.raises(Injected, match="tool_failure"):
            tool.fail()
        waiting = asyncio.create_task(queue.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert mine.clear("it was cleared") == 3
        async with asyncio.timeout(1):
            await waiting
        assert tokens.scaled(7) == 7

    within_loop(work)


async def hello(_request: Request) -> Response:
    return PlainTextResponse("hello")


def test_requests_fail_and_wait_under_their_own_route(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(FAULTS_PORT="0")
    served = telemetry.app([Route("/items/{item}", hello)])

    async def work() -> None:
        transport = httpx.ASGITransport(served)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            faults.FAULTS.start({"kind": "errors", "seconds": 60, "share": 0.5})
            statuses = [(await client.get("/items/1")).status_code for _ in range(4)]
            assert statuses == [200, 500, 200, 500]
            faults.FAULTS.clear("it was cleared")
            faults.FAULTS.start({"kind": "delay", "delay": 0.2, "seconds": 60})
            start = time.perf_counter()
            assert (await client.get("/items/1")).text == "hello"
            assert 0.2 <= time.perf_counter() - start < 1

    within_loop(work)
    exposed = telemetry.metrics.expose("")[0].decode()
    found = dict(re.findall(r'^http_requests_total{.*route="/items/{item}".*status="(\d+)"} (\S+)$', exposed, re.M))
    assert found == {"200": "3.0", "500": "2.0"}


def test_the_end_of_a_delay_lets_go_of_the_requests_that_wait(make_telemetry: MakeTelemetry) -> None:
    make_telemetry()
    mine = Faults()
    (route,) = around([Mount("/inner", app=Route("/", hello).app)], mine)
    assert isinstance(route, Mount)

    async def work() -> None:
        mine.start({"kind": "delay", "delay": 100, "seconds": 120})
        transport = httpx.ASGITransport(route.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client, asyncio.timeout(5):
            asked = asyncio.create_task(client.get("/"))
            await asyncio.sleep(0.1)
            assert not asked.done()
            mine.clear("it was cleared")
            assert (await asked).text == "hello"

    within_loop(work)


def test_a_dependency_that_is_kept_away_opens_its_circuit_and_degrades_health(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(UPSTREAM_BANK="http://127.0.0.1:1", UPSTREAM_SHOP="http://127.0.0.1:1")

    async def answer(_scope: Any, _receive: Any, send: Any) -> None:
        await PlainTextResponse("ok")({"type": "http"}, _receive, send)

    inner = httpx.ASGITransport(answer)
    bank, shop = (telemetry.client(name, inner=inner) for name in ("bank", "shop"))

    async def work() -> None:
        faults.FAULTS.start({"kind": "unreachable", "dependency": "bank", "seconds": 60})
        for _ in range(5):
            with pytest.raises(Unreachable, match="a fault keeps it away"):
                await bank.get("/")
        assert (await shop.get("/")).text == "ok"
        status, body = await telemetry.health.report()
        assert status == 503
        assert "a fault keeps it away" in body["dependencies"]["bank"]["error"]
        assert "a fault" not in body["dependencies"]["shop"]["error"]

    within_loop(work)
    exposed = telemetry.metrics.expose("")[0].decode()
    assert 'circuit_breaker_state{dependency="bank",service="shop"} 2.0' in exposed
    assert 'circuit_breaker_state{dependency="shop",service="shop"} 0.0' in exposed


def test_a_queue_in_redis_is_out_of_reach_too(make_telemetry: MakeTelemetry) -> None:
    store = make_telemetry(REDIS_URL="redis://127.0.0.1:1/0").redis()

    async def work() -> None:
        faults.FAULTS.start({"kind": "unreachable", "dependency": "redis", "seconds": 60})
        with pytest.raises(Unreachable, match="a fault keeps it away"):
            await store.call_quietly("BRPOP", "queue", 1)

    within_loop(work)


def test_memory_grows_by_what_was_asked_and_comes_back(make_telemetry: MakeTelemetry) -> None:
    make_telemetry()

    async def work() -> None:
        before = memory_bytes()
        faults.FAULTS.start({"kind": "memory", "mebibytes": 40, "seconds": 6})
        async with asyncio.timeout(30):
            while memory_bytes() - before < 39 * effects.MIB:
                await asyncio.sleep(0.01)
            assert memory_bytes() - before < 48 * effects.MIB
            while memory_bytes() - before > 8 * effects.MIB:
                await asyncio.sleep(0.01)

    within_loop(work)


def test_a_core_is_busy_for_its_share_and_the_loop_stays_free(make_telemetry: MakeTelemetry) -> None:
    make_telemetry()

    async def work() -> None:
        before = time.process_time()
        fault = faults.FAULTS.start({"kind": "cpu", "share": 0.5, "seconds": 1})
        turns = 0
        while not fault.over.is_set():
            await asyncio.sleep(0.01)
            turns += 1
        burnt = time.process_time() - before
        assert 0.1 < burnt < 0.9
        assert turns > 10
        for thread in threading.enumerate():
            if thread.name == "fault cpu":
                thread.join(5)
                assert not thread.is_alive()

    within_loop(work)


def test_a_crash_ends_the_process_after_its_answer(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_telemetry()
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)

    async def work() -> None:
        faults.FAULTS.start({"kind": "crash", "seconds": 5})
        assert ended == []
        await asyncio.sleep(effects.CRASH_AFTER_SECONDS + 0.1)

    within_loop(work)
    assert ended == [1]


def test_the_listener_starts_lists_and_clears(make_telemetry: MakeTelemetry) -> None:
    make_telemetry()
    mine = Faults()

    async def work() -> None:
        async with (
            Listener(0, mine) as listener,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.port}", trust_env=False) as client,
        ):
            begun = await client.post("/faults", json={"kind": "errors", "share": 0.5, "seconds": 60})
            assert begun.status_code == 201
            assert begun.json() | {"left": 60} == {"kind": "errors", "share": 0.5, "seconds": 60, "left": 60}
            shown = (await client.get("/faults")).json()
            assert [fault["kind"] for fault in shown["active"]] == ["errors"]
            assert "queue_stall" not in shown["kinds"]
            assert (await client.delete("/faults")).json() == {"ended": 1}
            assert (await client.get("/faults")).json()["active"] == []
            await client.post("/faults", json={"kind": "errors", "seconds": 60})
        assert mine.bodies() == []

    within_loop(work)


def test_the_listener_says_what_is_wrong() -> None:
    http = Browser(app(Faults()))
    answer = http.post("/faults", json={"kind": "slow", "seconds": 5})
    assert answer.status_code == 400
    assert "there is no kind 'slow'" in answer.json()["error"]["message"]
    assert http.post("/faults", content=b"[]").status_code == 400


def test_without_a_port_there_is_neither_a_listener_nor_a_wrapped_route(make_telemetry: MakeTelemetry) -> None:
    def built(telemetry: Telemetry) -> tuple[int, bool]:
        route = Route("/", hello)
        plain = route.app
        telemetry.app([route])
        listeners = [resource for resource in telemetry._resources if isinstance(resource, Listener)]
        return len(listeners), route.app is not plain

    assert built(make_telemetry()) == (0, False)
    assert built(make_telemetry(FAULTS_PORT="0")) == (1, True)
