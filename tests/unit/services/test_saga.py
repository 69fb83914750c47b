import asyncio
from collections.abc import Awaitable, Callable

from saga_orchestrator.saga import Outcome, Sagas, Step, StepFailed
from telemetry import Telemetry, Unreachable
from tests.unit.services.helpers import MakeTelemetry

STEPS = ("record", "payment", "fulfilment")


def saga(telemetry: Telemetry, failing: dict[str, Exception]) -> tuple[Outcome, list[str]]:
    """Run a saga in which the named calls fail; its outcome and the calls in their order."""
    calls: list[str] = []

    def call(name: str) -> Callable[[], Awaitable[None]]:
        async def made() -> None:
            calls.append(name)
            if name in failing:
                raise failing[name]

        return made

    steps = [Step(name, call(name), call(f"undo {name}")) for name in STEPS]
    return asyncio.run(Sagas(telemetry).run("order", steps)), calls


def count(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.metrics.registry.get_sample_value(name, {"saga": "order", **labels})


def test_a_saga_without_failure_is_completed_and_compensates_nothing(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    outcome, calls = saga(telemetry, {})
    assert outcome == Outcome("completed")
    assert calls == list(STEPS)
    assert count(telemetry, "saga_transactions_total", outcome="completed") == 1
    assert count(telemetry, "saga_duration_seconds_count") == 1
    assert telemetry.metrics.registry.get_sample_value("saga_in_flight") == 0


def test_a_failed_step_compensates_those_before_it_last_first(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    outcome, calls = saga(telemetry, {"fulfilment": StepFailed("unshippable")})
    assert outcome == Outcome("compensated", "fulfilment", "unshippable")
    assert calls == [*STEPS, "undo payment", "undo record"]
    assert count(telemetry, "saga_step_total", step="fulfilment", outcome="failure") == 1
    assert count(telemetry, "saga_compensations_total", step="payment", outcome="success") == 1
    assert count(telemetry, "saga_compensations_total", step="record", outcome="success") == 1
    assert count(telemetry, "saga_transactions_total", outcome="compensated") == 1


def test_a_failed_first_step_has_nothing_to_compensate(make_telemetry: MakeTelemetry) -> None:
    outcome, calls = saga(make_telemetry(), {"record": Unreachable("airtable-gateway", "refused")})
    assert outcome == Outcome("compensated", "record", "airtable-gateway: refused")
    assert calls == ["record"]


def test_a_failed_compensation_fails_the_saga_and_the_others_are_done(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    failing: dict[str, Exception] = {"fulfilment": StepFailed("no"), "undo payment": StepFailed("no refund")}
    outcome, calls = saga(telemetry, failing)
    assert outcome.outcome == "failed"
    assert calls == [*STEPS, "undo payment", "undo record"]
    assert count(telemetry, "saga_compensations_total", step="payment", outcome="failure") == 1
    assert count(telemetry, "saga_transactions_total", outcome="failed") == 1
