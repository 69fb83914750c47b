"""``POST /sagas`` with ``{"item": "…", "amount": 12.5}`` places an order, ``GET /sagas/{saga}`` shows it.

Answers 201 where it is completed, 409 where it was compensated, 500 where a compensation failed too. An
amount over 1000 is declined by the second step, the item "unshippable" by the third. Needs
UPSTREAM_AIRTABLE_GATEWAY, UPSTREAM_PLATFORM_SERVICES, UPSTREAM_AUTOMATION_SERVICES.
"""

import uuid
from collections import OrderedDict
from typing import Any

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from saga_orchestrator.saga import Sagas, Step, StepFailed
from telemetry import Telemetry, web

SAGA = "order"
STEPS = ["record", "payment", "fulfilment"]
KEPT = 1000
STATUS = {"completed": 201, "compensated": 409, "failed": 500}


class Order:
    """One order; its steps remember what they must undo."""

    def __init__(
        self,
        item: str,
        amount: float,
        airtable: httpx.AsyncClient,
        platform: httpx.AsyncClient,
        automation: httpx.AsyncClient,
    ) -> None:
        self.id = uuid.uuid4().hex
        self._item = item
        self._amount = amount
        self._airtable = airtable
        self._platform = platform
        self._automation = automation
        self._record = ""
        self._job = ""

    def steps(self) -> list[Step]:
        """Record, payment, fulfilment."""
        calls = (
            (self._create_record, self._delete_record),
            (self._pay, self._refund),
            (self._ship, self._cancel),
        )
        return [Step(name, act, undo) for name, (act, undo) in zip(STEPS, calls, strict=True)]

    async def _create_record(self) -> None:
        fields = {"order": self.id, "item": self._item, "amount": self._amount}
        self._record = _done(await self._airtable.post("/records", json={"fields": fields}))["id"]

    async def _delete_record(self) -> None:
        _done(await self._airtable.delete(f"/records/{self._record}"))

    async def _pay(self) -> None:
        _done(await self._platform.post("/payments", json={"order": self.id, "amount": self._amount}))

    async def _refund(self) -> None:
        _done(await self._platform.delete(f"/payments/{self.id}"))

    async def _ship(self) -> None:
        job = {"kind": "workflow", "name": "fulfilment", "content": self._item}
        self._job = _done(await self._automation.post("/jobs?wait=1", json=job))["id"]

    async def _cancel(self) -> None:
        _done(await self._automation.delete(f"/jobs/{self._job}"))


def _done(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise StepFailed(f"answered {answer.status_code}: {answer.text[:200]}")
    return dict(answer.json())


class Orders:
    """Orders over HTTP; the last KEPT are kept in memory."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._sagas = Sagas(telemetry)
        self._sagas.declare(SAGA, STEPS)
        self._airtable = telemetry.client("airtable-gateway")
        self._platform = telemetry.client("platform-services")
        self._automation = telemetry.client("automation-services")
        self._ended: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def place(self, request: Request) -> Response:
        """Run the saga of an order."""
        body = await web.read_json(request)
        item, amount = web.text(body, "item", 200), web.number(body, "amount", 0.01, 1_000_000)
        order = Order(item, amount, self._airtable, self._platform, self._automation)
        ended = await self._sagas.run(SAGA, order.steps())
        found = {
            "id": order.id,
            "outcome": ended.outcome,
            "failed_step": ended.failed_step,
            "reason": ended.reason,
        }
        self._ended[order.id] = found
        while len(self._ended) > KEPT:
            self._ended.popitem(last=False)
        return JSONResponse(found, STATUS[ended.outcome])

    async def show(self, request: Request) -> Response:
        """How an order ended."""
        found = self._ended.get(request.path_params["saga"])
        if found is None:
            raise HTTPException(404, "no such order")
        return JSONResponse(found)


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the saga orchestrator."""
    orders = Orders(telemetry)
    return telemetry.app(
        [
            Route("/sagas", orders.place, methods=["POST"]),
            Route("/sagas/{saga}", orders.show, methods=["GET"]),
        ]
    )
