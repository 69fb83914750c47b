"""Orders and refunds.

    POST /sagas         {"item", "amount"}: an order
    POST /refunds       {"order": id of an order that is completed}: 404 where there is none
    GET /sagas/{saga}   how it stands

The first two answer 201 where the saga is completed, 409 where it was compensated, 500 where a compensation failed
too, 202 where another orchestrator goes on with it. The last two answer 410 where the saga cannot be read. An amount
over 1000 is declined by the second step of an order, the item "unshippable" by the third; a second refund of an order
by its last. A saga outlives its orchestrator: whatever runs then goes on with it, after LEASE_SECONDS. Needs REDIS_URL,
REDIS_PASSWORD_FILE, UPSTREAM_AIRTABLE_GATEWAY, UPSTREAM_PLATFORM_SERVICES, UPSTREAM_AUTOMATION_SERVICES.
"""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from saga_orchestrator.engine import Sagas
from saga_orchestrator.saga import COMPENSATED, COMPLETED, FAILED, Saga, SagaUnreadable, Store
from saga_orchestrator.steps import Steps
from saga_orchestrator.store import RedisSagas
from telemetry import Telemetry, web

STATUS = {COMPLETED: 201, COMPENSATED: 409, FAILED: 500, None: 202}
Handler = Callable[[Request], Awaitable[Response]]


class Orders:
    """Sagas over HTTP."""

    def __init__(self, sagas: Sagas, store: Store) -> None:
        self._sagas = sagas
        self._store = store

    async def place(self, request: Request) -> Response:
        """Run the saga of an order."""
        body = await web.read_json(request)
        item, amount = web.text(body, "item", 200), web.number(body, "amount", 0.01, 1_000_000)
        return _answer(await self._sagas.run("order", {"item": item, "amount": amount}))

    async def refund(self, request: Request) -> Response:
        """Run the saga of a refund."""
        order = web.text(await web.read_json(request), "order", 64)
        placed = await self._store.load(order)
        if placed is None or placed.kind != "order" or placed.outcome != COMPLETED:
            raise HTTPException(404, "no such order, or it is not completed")
        given = {"order": order, "item": placed.input["item"], "amount": placed.input["amount"]}
        return _answer(await self._sagas.run("refund", given))

    async def show(self, request: Request) -> Response:
        """How a saga stands."""
        found = await self._store.load(request.path_params["saga"])
        if found is None:
            raise HTTPException(404, "no such order")
        return JSONResponse(found.body())


def _reading(handler: Handler) -> Handler:
    """``handler``, with an answer of its own where the saga that it asks for cannot be read."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except SagaUnreadable:
            return web.failure(410, "saga_unreadable", "what is stored of this saga cannot be read")

    return answer


def _answer(saga: Saga) -> Response:
    return JSONResponse(saga.body(), STATUS[saga.outcome])


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the saga orchestrator."""
    store = RedisSagas(telemetry.redis())
    sagas = Sagas(telemetry, store, Steps(telemetry, store.may_refund).kinds())
    telemetry.background(sagas.resume)
    orders = Orders(sagas, store)
    return telemetry.app(
        [
            Route("/sagas", orders.place, methods=["POST"]),
            Route("/refunds", _reading(orders.refund), methods=["POST"]),
            Route("/sagas/{saga}", _reading(orders.show), methods=["GET"]),
        ]
    )
