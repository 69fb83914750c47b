"""The steps of orders and refunds, in other services. All may be asked for again under the id of the saga."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from saga_orchestrator.saga import Saga, Step, StepFailed
from telemetry import Telemetry, TimedOut

MayRefund = Callable[[str, str], Awaitable[bool]]


class Steps:
    """What the sagas are made of. Needs UPSTREAM_… of the three services."""

    def __init__(self, telemetry: Telemetry, may_refund: MayRefund) -> None:
        self._airtable = telemetry.client("airtable-gateway")
        self._platform = telemetry.client("platform-services")
        self._automation = telemetry.client("automation-services")
        self._may_refund = may_refund

    def kinds(self) -> dict[str, list[Step]]:
        """The steps of each kind of saga. A refund ends with the money, for that cannot be taken back."""
        return {
            "order": [
                Step("record", self._create_record("orders"), self._delete_record("orders")),
                Step("payment", self._pay, self._unpay),
                Step("fulfilment", self._ship, self._unship),
            ],
            "refund": [
                Step("record", self._create_record("returns"), self._delete_record("returns")),
                Step("label", self._ship, self._unship),
                Step("payment", self._refund, None),
            ],
        }

    def _create_record(self, table: str) -> Callable[[Saga, bool], Awaitable[str]]:
        async def act(saga: Saga, again: bool) -> str:
            if again and (known := await self._find(table, saga.id)) is not None:
                return known
            answer = await self._airtable.post(
                "/records", params={"table": table}, json={"fields": {"saga": saga.id, **saga.input}}
            )
            return str(_done(answer)["id"])

        return act

    def _delete_record(self, table: str) -> Callable[[Saga], Awaitable[None]]:
        async def compensate(saga: Saga) -> None:
            record = saga.outputs.get("record") or await self._find(table, saga.id)
            if record is not None:
                _gone(await self._airtable.delete(f"/records/{record}", params={"table": table}))

        return compensate

    async def _find(self, table: str, saga: str) -> str | None:
        """The record of a saga, found by its field: Airtable takes no key of ours.

        Raises TimedOut also where the search is refused: that does not say that there is none.
        """
        wanted = {"table": table, "field": "saga", "value": saga, "limit": "1"}
        try:
            found = _done(await self._airtable.get("/records", params=wanted))["records"]
        except StepFailed as error:
            raise TimedOut("airtable-gateway", str(error)) from error
        return str(found[0]["id"]) if found else None

    async def _pay(self, saga: Saga, _again: bool) -> None:
        _done(await self._platform.post("/payments", json={"order": saga.id, "amount": saga.input["amount"]}))

    async def _unpay(self, saga: Saga) -> None:
        _done(await self._platform.delete(f"/payments/{saga.id}"))

    async def _ship(self, saga: Saga, _again: bool) -> None:
        job = {"kind": "workflow", "name": "fulfilment", "content": saga.input["item"], "id": _parcel(saga)}
        answer = await self._automation.post("/jobs?wait=1", json=job)
        _done(answer)
        if answer.status_code == 202:
            raise TimedOut("automation-services", "the parcel waits too long")

    async def _unship(self, saga: Saga) -> None:
        _gone(await self._automation.delete(f"/jobs/{_parcel(saga)}"))

    async def _refund(self, saga: Saga, _again: bool) -> None:
        if not await self._may_refund(saga.input["order"], saga.id):
            raise StepFailed("the order was refunded before")
        _done(await self._platform.delete(f"/payments/{saga.input['order']}"))


def _parcel(saga: Saga) -> str:
    return f"parcel-{saga.id}"


def _done(answer: httpx.Response) -> dict[str, Any]:
    """The body. Raises StepFailed for a refusal, TimedOut where the other side does not know either."""
    if answer.status_code >= 500:
        raise TimedOut(str(answer.request.url.host), f"answered {answer.status_code}: {answer.text[:200]}")
    if answer.is_error:
        raise StepFailed(f"answered {answer.status_code}: {answer.text[:200]}")
    return dict(answer.json())


def _gone(answer: httpx.Response) -> None:
    """For a deletion, what is not there is done."""
    if answer.status_code != 404:
        _done(answer)
