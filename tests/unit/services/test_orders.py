"""Orders and refunds over HTTP, with the three services behind them as small stand-ins."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from saga_orchestrator import app as module
from saga_orchestrator import engine
from saga_orchestrator.saga import Saga
from saga_orchestrator.steps import Steps
from telemetry import Telemetry, TimedOut
from tests.unit.services.airtable import gateway_to_airtable
from tests.unit.services.helpers import Browser, MakeTelemetry
from tests.unit.services.memory_sagas import MemoryStore


class Behind:
    """What the three services know; ``failing`` answers a status instead, by "METHOD path"."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.payments: dict[str, bool] = {}
        self.jobs: dict[str, str] = {}
        self.failing: dict[str, int] = {}

    def client(self, _name: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url="http://behind")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        kind, _, name = request.url.path.strip("/").partition("/")
        status = self.failing.get(f"{request.method} /{kind}")
        if status:
            return httpx.Response(status, json={"error": "as told"})
        body = json.loads(request.content) if request.content else {}
        found: Callable[[], httpx.Response] = {
            "GET records": lambda: self._list(request.url.params),
            "POST records": lambda: self._create(body["fields"]),
            "DELETE records": lambda: httpx.Response(200 if self.records.pop(name, None) else 404, json={}),
            "POST payments": lambda: self._pay(body),
            "DELETE payments": lambda: httpx.Response(200, json={"refunded": self.payments.pop(name, False)}),
            "POST jobs": lambda: self._ship(body),
            "DELETE jobs": lambda: httpx.Response(200 if self.jobs.pop(name, None) else 404, json={}),
        }[f"{request.method} {kind}"]
        return found()

    def _list(self, query: httpx.QueryParams) -> httpx.Response:
        wanted = (one for one in self.records.values() if one["fields"].get(query["field"]) == query["value"])
        return httpx.Response(200, json={"records": list(wanted)[: int(query["limit"])]})

    def _create(self, fields: dict[str, Any]) -> httpx.Response:
        name = f"rec{len(self.records)}"
        record = self.records[name] = {"id": name, "fields": fields}
        return httpx.Response(201, json=record)

    def _pay(self, body: dict[str, Any]) -> httpx.Response:
        if body["amount"] > 1000:
            return httpx.Response(402, json={})
        self.payments[body["order"]] = True
        return httpx.Response(201, json={})

    def _ship(self, body: dict[str, Any]) -> httpx.Response:
        if body["content"] == "unshippable":
            return httpx.Response(422, json={})
        self.jobs[body["id"]] = body["content"]
        return httpx.Response(201, json={"id": body["id"]})


class Store(MemoryStore):
    """A store of sagas that also knows who refunds."""

    def __init__(self) -> None:
        super().__init__()
        self.refunds: dict[str, str] = {}

    async def may_refund(self, order: str, saga: str) -> bool:
        return self.refunds.setdefault(order, saga) == saga


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def browser(make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch, behind: Behind) -> Browser:
    monkeypatch.setattr(engine, "FIRST_PAUSE_SECONDS", 0.001)
    telemetry, store = make_telemetry(), Store()
    monkeypatch.setattr(telemetry, "redis", lambda: None)
    monkeypatch.setattr(telemetry, "client", behind.client)
    monkeypatch.setattr(module, "RedisSagas", lambda _redis: store)
    return Browser(module.build(telemetry))


def test_an_order_is_recorded_paid_and_shipped(browser: Browser, behind: Behind) -> None:
    answer = browser.post("/sagas", json={"item": "book", "amount": 12.5})
    assert answer.status_code == 201
    order = answer.json()["id"]
    assert [record["fields"] for record in behind.records.values()] == [{"saga": order, "item": "book", "amount": 12.5}]
    assert behind.payments == {order: True}
    assert behind.jobs == {f"parcel-{order}": "book"}
    assert browser.get(f"/sagas/{order}").json() == answer.json()
    assert browser.get("/sagas/unknown").status_code == 404


@pytest.mark.parametrize(("item", "amount", "step"), [("book", 5000, "payment"), ("unshippable", 12.5, "fulfilment")])
def test_an_order_that_fails_leaves_nothing_behind(
    browser: Browser, behind: Behind, item: str, amount: float, step: str
) -> None:
    answer = browser.post("/sagas", json={"item": item, "amount": amount})
    assert (answer.status_code, answer.json()["failed_step"]) == (409, step)
    assert (behind.records, behind.payments, behind.jobs) == ({}, {}, {})


def test_a_compensation_that_fails_fails_the_order(browser: Browser, behind: Behind) -> None:
    behind.failing["DELETE /records"] = 429
    answer = browser.post("/sagas", json={"item": "book", "amount": 5000})
    assert (answer.status_code, answer.json()["outcome"]) == (500, "failed")


def test_a_record_whose_creation_was_not_answered_is_found_and_deleted(browser: Browser, behind: Behind) -> None:
    behind.failing["POST /payments"] = 504
    create = behind._create

    def unanswered(fields: dict[str, Any]) -> httpx.Response:
        create(fields)
        return httpx.Response(502, json={})

    behind._create = unanswered  # type: ignore[method-assign]
    answer = browser.post("/sagas", json={"item": "book", "amount": 12.5})
    assert (answer.status_code, answer.json()["failed_step"]) == (409, "record")
    assert behind.records == {}


@pytest.mark.parametrize("answer", [b"[1]", b"{}", b"no JSON"])
def test_an_answer_that_cannot_be_read_is_one_that_did_not_come(
    browser: Browser, behind: Behind, answer: bytes
) -> None:
    create = behind._create

    def unreadable(fields: dict[str, Any]) -> httpx.Response:
        create(fields)
        return httpx.Response(201, content=answer)

    behind._create = unreadable  # type: ignore[method-assign]
    found = browser.post("/sagas", json={"item": "book", "amount": 12.5})
    assert (found.status_code, found.json()["failed_step"]) == (409, "record")
    assert behind.records == {}


def test_an_order_is_refunded_once(browser: Browser, behind: Behind) -> None:
    order = browser.post("/sagas", json={"item": "book", "amount": 12.5}).json()["id"]
    first = browser.post("/refunds", json={"order": order})
    assert (first.status_code, first.json()["saga"]) == (201, "refund")
    assert behind.payments == {}
    assert len(behind.records) == 2
    assert len(behind.jobs) == 2
    second = browser.post("/refunds", json={"order": order})
    assert (second.status_code, second.json()["failed_step"]) == (409, "payment")
    assert len(behind.records) == 2
    assert len(behind.jobs) == 2


def test_only_a_completed_order_can_be_refunded(browser: Browser) -> None:
    declined = browser.post("/sagas", json={"item": "book", "amount": 5000}).json()["id"]
    for order in (declined, "unknown"):
        assert browser.post("/refunds", json={"order": order}).status_code == 404


@pytest.mark.parametrize("data", ["{", "null", '{"id": "a", "of": "another version"}'])
def test_a_saga_that_cannot_be_read_is_answered_with_410(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch, behind: Behind, data: str
) -> None:
    class Redis:
        async def call(self, *_asked: Any) -> str:
            return data

    telemetry = make_telemetry()
    monkeypatch.setattr(telemetry, "redis", Redis)
    monkeypatch.setattr(telemetry, "client", behind.client)
    browser = Browser(module.build(telemetry))
    for answer in (browser.get("/sagas/a"), browser.post("/refunds", json={"order": "a"})):
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "saga_unreadable")


def test_a_step_that_is_done_again_changes_nothing(
    make_telemetry: MakeTelemetry, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry: Telemetry = make_telemetry()
    monkeypatch.setattr(telemetry, "client", behind.client)
    steps = Steps(telemetry, Store().may_refund).kinds()
    order = Saga("a" * 32, "order", {"item": "book", "amount": 1}, {}, 0)
    refund = Saga("b" * 32, "refund", {"item": "book", "amount": 1, "order": order.id}, {}, 0)

    async def go() -> None:
        for saga in (order, refund):
            for step in steps[saga.kind]:
                first = await step.act(saga, False)
                assert await step.act(saga, True) == first

    asyncio.run(go())
    assert len(behind.records) == 2
    assert len(behind.jobs) == 2


def test_a_record_is_found_among_many_and_not_made_twice(
    make_telemetry: MakeTelemetry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = make_telemetry()
    saga = Saga("a" * 32, "order", {"item": "book", "amount": 1}, {}, 0)

    async def go(client: httpx.AsyncClient) -> None:
        async def count() -> int:
            return len((await client.get("/records?limit=500")).json()["records"])

        monkeypatch.setattr(telemetry, "client", lambda _name: client)
        record = Steps(telemetry, Store().may_refund).kinds()["order"][0]
        others = [{"fields": {"saga": f"{n:032}"}} for n in range(150)]
        for start in range(0, len(others), 50):
            assert (await client.post("/records", json={"records": others[start : start + 50]})).status_code == 201
        made = await record.act(saga, False)
        assert await record.act(saga, True) == made
        assert await count() == 151
        assert record.compensate is not None
        await record.compensate(saga)
        assert await count() == 150

    with gateway_to_airtable(make_telemetry, tmp_path) as gateway:
        gateway.talk(go)


def test_a_record_that_cannot_be_looked_for_may_be_there(
    make_telemetry: MakeTelemetry, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry: Telemetry = make_telemetry()
    monkeypatch.setattr(telemetry, "client", behind.client)
    behind.failing["GET /records"] = 429
    record = Steps(telemetry, Store().may_refund).kinds()["order"][0]
    with pytest.raises(TimedOut):
        asyncio.run(record.act(Saga("a" * 32, "order", {"item": "book"}, {}, 0), True))  # type: ignore[arg-type]


def test_a_parcel_that_waits_too_long_is_not_known_to_be_sent(
    make_telemetry: MakeTelemetry, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry: Telemetry = make_telemetry()
    monkeypatch.setattr(telemetry, "client", behind.client)
    monkeypatch.setattr(behind, "_ship", lambda _body: httpx.Response(202, json={}))
    ship = Steps(telemetry, Store().may_refund).kinds()["order"][2]

    async def go() -> None:
        await ship.act(Saga("a" * 32, "order", {"item": "book"}, {}, 0), False)

    with pytest.raises(TimedOut):
        asyncio.run(go())
