"""Sagas: what is done, undone, and gone on with after the end of their orchestrator."""

import asyncio
import copy

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from saga_orchestrator import engine as module
from saga_orchestrator.engine import BROKE, MAX_BROKE, TRIES, Sagas
from saga_orchestrator.saga import Saga, StepFailed, Store
from telemetry import Telemetry, Unreachable, ids
from tests.unit.services.helpers import LogLines, MakeTelemetry
from tests.unit.services.memory_sagas import STEPS, MemoryStore, Shop, ended, until

AWAY = Unreachable("platform-services", "refused")


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)


def run(telemetry: Telemetry, shop: Shop, store: Store | None = None) -> Saga:
    """Run one saga."""
    return asyncio.run(Sagas(telemetry, store or MemoryStore(), shop.kinds()).run("order", {}))


def count(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.metrics.registry.get_sample_value(name, {"saga": "order", **labels})


def test_a_saga_without_failure_is_completed_and_compensates_nothing(make_telemetry: MakeTelemetry) -> None:
    telemetry, shop, store = make_telemetry(), Shop(), MemoryStore()
    saga = run(telemetry, shop, store)
    assert (saga.outcome, saga.failed_step) == ("completed", None)
    assert shop.calls == list(STEPS)
    assert store.sagas[saga.id] == saga
    assert saga.outputs == {name: f"id of {name}" for name in STEPS}
    assert count(telemetry, "saga_transactions_total", outcome="completed") == 1
    assert count(telemetry, "saga_duration_seconds_count") == 1
    asyncio.run(telemetry.measure())
    assert telemetry.metrics.registry.get_sample_value("saga_in_flight") == 0


def test_a_step_that_is_refused_compensates_those_before_it_last_first(make_telemetry: MakeTelemetry) -> None:
    telemetry, shop = make_telemetry(), Shop({"fulfilment": StepFailed("unshippable")})
    saga = run(telemetry, shop)
    assert (saga.outcome, saga.failed_step, saga.reason) == ("compensated", "fulfilment", "unshippable")
    assert shop.calls == [*STEPS, "undo payment", "undo record"]
    assert count(telemetry, "saga_step_total", step="fulfilment", outcome="failure") == 1
    assert count(telemetry, "saga_compensations_total", step="payment", outcome="success") == 1
    assert count(telemetry, "saga_compensations_total", step="record", outcome="success") == 1
    assert count(telemetry, "saga_transactions_total", outcome="compensated") == 1


def test_a_step_that_may_have_been_done_is_compensated_too(make_telemetry: MakeTelemetry) -> None:
    shop = Shop({"payment": AWAY})
    saga = run(make_telemetry(), shop)
    assert (saga.outcome, saga.reason) == ("compensated", "platform-services: refused")
    assert shop.calls == ["record", "payment", "undo payment", "undo record"]


def test_a_refused_first_step_has_nothing_to_compensate(make_telemetry: MakeTelemetry) -> None:
    shop = Shop({"record": StepFailed("throttled")})
    assert run(make_telemetry(), shop).outcome == "compensated"
    assert shop.calls == ["record"]


def test_a_compensation_is_tried_again(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    shop = Shop({"fulfilment": StepFailed("no"), "undo payment": StepFailed("throttled")}, for_good=False)
    assert run(telemetry, shop).outcome == "compensated"
    assert shop.calls == [*STEPS, "undo payment", "undo payment", "undo record"]
    assert count(telemetry, "saga_compensations_total", step="payment", outcome="success") == 1
    assert count(telemetry, "saga_compensations_total", step="payment", outcome="failure") == 0


def test_a_failed_compensation_fails_the_saga_and_the_others_are_done(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    shop = Shop({"fulfilment": StepFailed("no"), "undo payment": StepFailed("no refund")})
    saga = run(telemetry, shop)
    assert (saga.outcome, saga.left) == ("failed", ["payment"])
    assert shop.calls == [*STEPS, *["undo payment"] * TRIES, "undo record"]
    assert count(telemetry, "saga_compensations_total", step="payment", outcome="failure") == 1
    assert count(telemetry, "saga_transactions_total", outcome="failed") == 1


def test_a_last_step_without_compensation_is_tried_again_and_leaves_the_saga_open(
    make_telemetry: MakeTelemetry,
) -> None:
    telemetry, shop, store = make_telemetry(), Shop({"fulfilment": AWAY}), MemoryStore()
    sagas = Sagas(telemetry, store, shop.kinds(last_is_final=True))
    with pytest.raises(Unreachable):
        asyncio.run(sagas.run("order", {}))
    assert shop.calls == ["record", "payment", *["fulfilment"] * TRIES]
    (saga,) = store.sagas.values()
    assert (saga.outcome, saga.undo) == (None, None)
    asyncio.run(telemetry.measure())
    assert telemetry.metrics.registry.get_sample_value("saga_in_flight") == 1


def test_a_store_that_is_away_for_a_moment_does_not_stop_a_saga(make_telemetry: MakeTelemetry) -> None:
    store, shop = MemoryStore(), Shop()

    async def go() -> None:
        sagas = Sagas(make_telemetry(), store, shop.kinds())
        shop.hanging.add("payment")
        task = asyncio.create_task(sagas.run("order", {}))
        await until(lambda: "payment" in shop.calls)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        shop.hanging.clear()
        store.away = 3
        await ended(sagas, store)

    asyncio.run(go())
    assert [saga.outcome for saga in store.sagas.values()] == ["completed"]
    assert store.away == 0


BUG = ValueError("a bug")


def test_a_step_that_breaks_may_have_been_done_and_is_compensated(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    telemetry, shop = make_telemetry(), Shop({"payment": BUG})
    saga = run(telemetry, shop)
    assert (saga.outcome, saga.failed_step, saga.reason) == ("compensated", "payment", BROKE)
    assert shop.calls == ["record", "payment", "undo payment", "undo record"]
    assert count(telemetry, "saga_step_total", step="payment", outcome="failure") == 1
    assert any("a bug" in str(line) for line in log_lines())


def test_a_compensation_that_breaks_fails_the_saga(make_telemetry: MakeTelemetry) -> None:
    shop = Shop({"fulfilment": StepFailed("no"), "undo payment": BUG})
    saga = run(make_telemetry(), shop)
    assert (saga.outcome, saga.left) == ("failed", ["payment"])
    assert shop.calls == [*STEPS, *["undo payment"] * TRIES, "undo record"]


class ForgetfulStore(MemoryStore):
    """Sagas are in nobody's hand as soon as they are not worked on."""

    async def claim(self) -> Saga | None:
        await asyncio.sleep(0.001)
        return next((copy.deepcopy(saga) for saga in self.sagas.values() if saga.outcome is None), None)


def resumed(telemetry: Telemetry, shop: Shop, saga: Saga, last_is_final: bool = False) -> Saga:
    """How a saga ends that was left by another orchestrator, with leases that end at once."""
    store = ForgetfulStore()
    store.sagas[saga.id] = saga
    asyncio.run(ended(Sagas(telemetry, store, shop.kinds(last_is_final)), store))
    return store.sagas[saga.id]


def test_a_saga_that_is_resumed_and_breaks_is_compensated(make_telemetry: MakeTelemetry) -> None:
    telemetry, shop = make_telemetry(), Shop({"record": BUG})
    saga = resumed(telemetry, shop, Saga("a", "order", {}, {}, 0))
    assert (saga.outcome, saga.failed_step) == ("compensated", "record")
    assert shop.calls == ["again record", "undo record"]
    assert count(telemetry, "saga_resumed_total") == 1


def test_a_saga_that_breaks_each_time_is_given_up(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    telemetry, shop = make_telemetry(), Shop({"fulfilment": BUG})
    saga = resumed(telemetry, shop, Saga("a", "order", {}, {}, 0), last_is_final=True)
    assert (saga.outcome, saga.reason) == ("failed", BROKE)
    assert shop.calls.count("again fulfilment") + shop.calls.count("fulfilment") == TRIES * MAX_BROKE
    assert count(telemetry, "saga_transactions_total", outcome="failed") == 1
    assert [line["outcome"] for line in log_lines() if line["level"] == "error"] == ["failed"]


def test_a_saga_that_breaks_at_first_is_open_and_not_an_internal_error(make_telemetry: MakeTelemetry) -> None:
    store, shop = MemoryStore(), Shop({"fulfilment": BUG})
    sagas = Sagas(make_telemetry(), store, shop.kinds(last_is_final=True))
    saga = asyncio.run(sagas.run("order", {}))
    assert (saga.outcome, store.sagas[saga.id].broke) == (None, 1)


def test_a_saga_of_an_unknown_kind_or_with_an_unknown_step_fails(make_telemetry: MakeTelemetry) -> None:
    assert resumed(make_telemetry(), Shop(), Saga("a", "invented", {}, {}, 0)).outcome == "failed"
    saga = resumed(make_telemetry(), Shop(), Saga("a", "order", {}, {}, 0, undo=["record", "invented"]))
    assert (saga.outcome, saga.left) == ("failed", ["invented"])


def test_a_saga_that_cannot_even_be_resumed_is_seen_in_the_log(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    saga = Saga("a", "order", {}, None, 0)  # type: ignore[arg-type]
    store = ForgetfulStore()
    store.sagas["a"] = saga

    async def go() -> None:
        task = asyncio.create_task(Sagas(make_telemetry(), store, Shop().kinds()).resume())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())
    assert "saga cannot be resumed" in {line["message"] for line in log_lines()}


def test_a_store_that_breaks_does_not_end_the_looking_for_sagas(make_telemetry: MakeTelemetry) -> None:
    class Breaking(ForgetfulStore):
        breaks = 2

        async def claim(self) -> Saga | None:
            if self.breaks:
                self.breaks -= 1
                raise BUG
            return await super().claim()

    store = Breaking()
    store.sagas["a"] = Saga("a", "order", {}, {}, 0)
    asyncio.run(ended(Sagas(make_telemetry(), store, Shop().kinds()), store))
    assert store.sagas["a"].outcome == "completed"


@pytest.mark.parametrize(
    ("hangs_at", "failing", "outcome", "calls"),
    [
        ("record", {}, "completed", ["record", "again record", "payment", "fulfilment"]),
        ("payment", {}, "completed", ["record", "payment", "again payment", "fulfilment"]),
        (
            "payment",
            {"payment": StepFailed("no")},
            "compensated",
            ["record", "payment", "again payment", "undo record"],
        ),
        (
            "undo payment",
            {"fulfilment": StepFailed("no")},
            "compensated",
            [*STEPS, "undo payment", "undo payment", "undo record"],
        ),
    ],
)
def test_a_saga_that_its_orchestrator_has_left_is_gone_on_with_in_its_trace(
    make_telemetry: MakeTelemetry,
    spans: InMemorySpanExporter,
    hangs_at: str,
    failing: dict[str, Exception],
    outcome: str,
    calls: list[str],
) -> None:
    telemetry, shop, store = make_telemetry(), Shop(failing), MemoryStore()
    seen: list[ids.Ids | None] = []

    async def go() -> None:
        shop.hanging.add(hangs_at)
        sagas = Sagas(telemetry, store, shop.kinds())
        with (
            ids.bound(ids.Ids("request-1", "journey-1")),
            telemetry.tracing.tracer.start_as_current_span("POST /sagas"),
        ):
            task = asyncio.create_task(sagas.run("order", {}))
        await until(lambda: hangs_at in shop.calls)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        shop.hanging.clear()
        seen.append(ids.current())
        await ended(sagas, store)

    asyncio.run(go())
    assert [saga.outcome for saga in store.sagas.values()] == [outcome]
    assert shop.calls == calls
    assert count(telemetry, "saga_resumed_total") == 1
    assert count(telemetry, "saga_transactions_total", outcome=outcome) == 1
    telemetry.tracing.provider.force_flush()
    assert len({span.context.trace_id for span in spans.get_finished_spans()}) == 1
