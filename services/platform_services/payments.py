"""Payments for orders; a payment can be refunded."""

from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from telemetry import web
from telemetry.postgres import Postgres

CREDIT_LIMIT = 1000.0
MAX_AMOUNT = 1_000_000.0


class Payments:
    """Repeatable: an order is paid and refunded once, however often that is asked for."""

    def __init__(self, database: Postgres, actions: Counter) -> None:
        self._database = database
        self._actions = actions

    async def pay(self, request: Request) -> Response:
        """Take ``amount`` for ``order``; 402 over the credit limit."""
        body = await web.read_json(request)
        order = web.text(body, "order", 64)
        amount = web.number(body, "amount", 0.01, MAX_AMOUNT)
        if amount > CREDIT_LIMIT:
            raise HTTPException(402, "the amount is over the credit limit")
        await self._database.fetch(
            "insert_payment",
            "INSERT INTO payments (order_id, amount) VALUES ($1, $2::float8::numeric)"
            " ON CONFLICT (order_id) DO NOTHING",
            order,
            amount,
        )
        self._actions.labels("payment").inc()
        return JSONResponse({"order": order}, 201)

    async def refund(self, request: Request) -> Response:
        """Give the money of an order back."""
        order = request.path_params["order"]
        rows = await self._database.fetch(
            "refund_payment",
            "UPDATE payments SET refunded = true WHERE order_id = $1 AND NOT refunded RETURNING order_id",
            order,
        )
        if rows:
            self._actions.labels("refund").inc()
        return JSONResponse({"order": order, "refunded": bool(rows)})
