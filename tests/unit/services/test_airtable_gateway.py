"""The gateway to Airtable keeps below the limit, waits no longer than it may, and loses nothing in batches."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airtable_gateway import airtable as airtable_module
from airtable_gateway import limiter as limiter_module
from airtable_gateway.airtable import Airtable
from airtable_gateway.limiter import Limiter, Throttled
from lookout.verify.polling import NotYet, poll_until
from tests.unit.services.airtable import KEY, Gateway, gateway_to_airtable
from tests.unit.services.helpers import MakeTelemetry


@pytest.fixture
def gateway(make_telemetry: MakeTelemetry, tmp_path: Path) -> Iterator[Gateway]:
    with gateway_to_airtable(make_telemetry, tmp_path) as found:
        yield found


def test_a_burst_is_spread_so_that_airtable_never_refuses(gateway: Gateway) -> None:
    async def burst(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.get("/records") for _ in range(8)))

    assert [answer.status_code for answer in gateway.talk(burst)] == [200] * 8
    assert gateway.value("airtable_requests_total", {"operation": "list", "status": "200"}) == 8
    assert gateway.value("airtable_requests_total", {"operation": "list", "status": "429"}) == 0
    assert gateway.value("airtable_throttled_total") == 0
    waited = gateway.value("airtable_wait_seconds_sum")
    assert waited is not None
    assert waited > 2


def test_what_would_wait_too_long_is_throttled_and_nothing_remains_meanwhile(gateway: Gateway) -> None:
    async def burst(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = [asyncio.create_task(client.get("/records")) for _ in range(40)]
        async with asyncio.timeout(10):
            while gateway.value("airtable_rate_limit_remaining") != 0:
                await asyncio.sleep(0.01)
        return await asyncio.gather(*asked)

    answers = gateway.talk(burst)
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused[0].json()["error"]["code"] == "airtable_throttled"
    assert gateway.value("airtable_throttled_total") == len(refused)
    assert gateway.value("airtable_requests_total", {"operation": "list", "status": "429"}) == 0


def test_records_are_written_in_batches_and_read_in_pages(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airtable_module, "PAGE_SIZE", 10)

    async def converse(client: httpx.AsyncClient) -> tuple[httpx.Response, list[Any]]:
        records = [{"fields": {"n": n}} for n in range(23)]
        made = await client.post("/records?table=batch", json={"records": records})
        return made, (await client.get("/records?table=batch&limit=21")).json()["records"]

    made, found = gateway.talk(converse)
    assert made.status_code == 201
    assert [record["fields"]["n"] for record in made.json()["records"]] == list(range(23))
    assert [record["fields"]["n"] for record in found] == list(range(21))
    assert gateway.value("airtable_requests_total", {"operation": "create", "status": "200"}) == 3
    assert gateway.value("airtable_requests_total", {"operation": "list", "status": "200"}) == 3


def test_a_record_is_found_by_a_value_whatever_is_in_it(gateway: Gateway) -> None:
    names = ["plain", 'a"b', "a'b", "a\\", '\\"', "}{name}", '" & {name} & "', "dünn "]

    async def converse(client: httpx.AsyncClient) -> list[Any]:
        records = [{"fields": {"name": name}} for name in names]
        await client.post("/records?table=names", json={"records": records})
        queries = [{"table": "names", "field": "name", "value": name} for name in names]
        return [(await client.get("/records", params=query)).json()["records"] for query in queries]

    found = [[record["fields"]["name"] for record in records] for records in gateway.talk(converse)]
    assert found == [[name] for name in names]


def test_a_record_is_made_and_deleted_and_what_airtable_refuses_is_passed_on(gateway: Gateway) -> None:
    async def converse(client: httpx.AsyncClient) -> list[httpx.Response]:
        made = await client.post("/records", json={"fields": {"n": 1}})
        return [
            made,
            await client.delete(f"/records/{made.json()['id']}"),
            await client.delete(f"/records/{made.json()['id']}"),
            await client.post("/records", json={"fields": {}}),
            await client.post("/records", json={"records": []}),
            await client.get("/records?limit=501"),
            await client.get("/records?table=a%2Fb"),
            await client.get("/records?field=a"),
            await client.get("/records?value=a"),
            await client.get("/records?value=a&field=a%7D"),
            await client.get("/records?field=a&value=%0A"),
            await client.get("/records?field=a&value=" + 201 * "a"),
        ]

    answers = gateway.talk(converse)
    assert [answer.status_code for answer in answers] == [201, 200, 404, 422, *[400] * 8]
    assert "Could not find field" in answers[3].json()["error"]["message"]


def test_airtable_s_429_is_waited_for_as_it_says_then_passed_on(gateway: Gateway) -> None:
    async def converse(client: httpx.AsyncClient) -> tuple[httpx.Response, float]:
        start = asyncio.get_running_loop().time()
        answer = await client.get("/records?table=throttled")
        return answer, asyncio.get_running_loop().time() - start

    answer, took = gateway.talk(converse)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert took >= 1
    assert gateway.value("airtable_requests_total", {"operation": "list", "status": "429"}) == 2
    assert gateway.value("airtable_throttled_total") == 2


@pytest.mark.parametrize(("method", "asked"), [("GET", 2), ("POST", 1)])
def test_only_reading_is_tried_again_after_a_server_error(gateway: Gateway, method: str, asked: int) -> None:
    async def converse(client: httpx.AsyncClient) -> httpx.Response:
        return await client.request(method, "/records?table=unavailable", json={"fields": {"n": 1}})

    assert gateway.talk(converse).status_code == 502
    operation = "list" if method == "GET" else "create"
    assert gateway.value("airtable_requests_total", {"operation": operation, "status": "503"}) == asked


@pytest.mark.parametrize("headers", [{}, {"retry-after": "nan"}])
def test_a_429_without_a_time_counts_as_the_documented_thirty_seconds(
    make_telemetry: MakeTelemetry, headers: dict[str, str]
) -> None:
    telemetry = make_telemetry()
    answers = iter([httpx.Response(429, json={"errors": []}, headers=headers)])

    async def converse() -> list[float]:
        waits = []
        transport = httpx.MockTransport(lambda _: next(answers))
        async with httpx.AsyncClient(transport=transport, base_url="http://airtable") as http:
            airtable = Airtable(telemetry, http, KEY)
            # The second is not sent at all: there is no answer for it.
            for _ in range(2):
                with pytest.raises(Throttled) as caught:
                    await airtable.records("orders", 1)
                waits.append(caught.value.retry_after)
        return waits

    assert asyncio.run(converse()) == pytest.approx([30, 30], abs=0.5)
    assert telemetry.metrics.registry.get_sample_value("airtable_throttled_total") == 2


def test_a_wrong_token_is_the_gateway_s_own_failure(make_telemetry: MakeTelemetry, tmp_path: Path) -> None:
    with gateway_to_airtable(make_telemetry, tmp_path, token="wrong") as gateway:
        assert gateway.talk(lambda client: client.get("/records")).status_code == 502


def test_the_pool_of_connections_is_shown(gateway: Gateway) -> None:
    async def converse(client: httpx.AsyncClient) -> None:
        await client.get("/records")
        await client.get("/metrics")

    gateway.talk(converse)
    assert gateway.value("airtable_pool_connections", {"state": "idle"}) == 1
    assert gateway.value("airtable_pool_connections", {"state": "used"}) == 0


def test_no_more_than_the_rate_are_answered_within_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter_module, "WINDOW_SECONDS", 0.1)
    remaining: list[int] = []

    async def run() -> list[float]:
        limiter, loop = Limiter(3, 5.0), asyncio.get_running_loop()
        arrived: list[float] = []

        async def request(late: float) -> None:
            async with limiter.place():
                remaining.append(limiter.remaining)
                await asyncio.sleep(late)
                arrived.append(loop.time())

        await asyncio.gather(*(request(0.05 if n % 2 else 0.0) for n in range(12)))
        await asyncio.sleep(0.15)
        remaining.append(limiter.remaining)
        return sorted(arrived)

    arrived = asyncio.run(run())
    assert all(later - earlier >= 0.099 for earlier, later in zip(arrived, arrived[3:], strict=False))
    assert (min(remaining), remaining[-1]) == (0, 3)


def test_a_pause_holds_back_those_that_wait_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter_module, "WINDOW_SECONDS", 0.05)

    async def run() -> float:
        limiter, loop = Limiter(1, 1.0), asyncio.get_running_loop()
        start = loop.time()

        async def request() -> float:
            async with limiter.place():
                return loop.time() - start

        async with limiter.place():
            waiting = asyncio.create_task(request())
            await asyncio.sleep(0)
            limiter.pause(0.3)
        took = await waiting
        limiter.pause(5)
        with pytest.raises(Throttled):
            await request()
        return took

    assert asyncio.run(run()) >= 0.3


def test_nothing_remains_during_a_pause_and_all_again_after_it_without_a_request(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter_module, "WINDOW_SECONDS", 0.01)
    monkeypatch.setattr(airtable_module, "MAX_WAIT_SECONDS", 0.5)
    telemetry = make_telemetry()

    def remaining() -> float | None:
        return telemetry.metrics.registry.get_sample_value("airtable_rate_limit_remaining")

    async def converse() -> None:
        answer = httpx.Response(429, json={"errors": []}, headers={"retry-after": "1"})
        transport = httpx.MockTransport(lambda _: answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://airtable") as http:
            airtable = Airtable(telemetry, http, KEY)
            assert remaining() == 5
            with pytest.raises(Throttled):
                await airtable.records("orders", 1)
        # Until the place of the request that was refused is free again.
        await asyncio.sleep(0.05)
        assert remaining() == 0

    asyncio.run(converse())

    def ended() -> None:
        if remaining() != 5:
            raise NotYet(f"{remaining()} remain")

    poll_until(ended, "the end of the pause", within=5, every=0.05)
