"""The circuit breaker: when it opens, who tries while it is half open, what it is shown as."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from purgatory.domain.model import CLOSED, HALF_OPENED, OPENED

from telemetry import CircuitOpen, TimedOut, Unreachable
from telemetry.breaker import FAILURES_TO_OPEN, STATES, Breakers
from telemetry.metrics import Metrics
from tests.unit.services.helpers import MakeTelemetry
from tests.unit.services.upstream import UPSTREAM, payments, state


class Circuit:
    """The circuit of payments, without a client."""

    def __init__(self, let_time_pass: Callable[[], None]) -> None:
        self.metrics = Metrics("shop")
        self.breakers = Breakers(self.metrics)
        self.let_time_pass = let_time_pass

    @property
    def state(self) -> float | None:
        return self.metrics.registry.get_sample_value("circuit_breaker_state", {"dependency": "payments"})

    async def ask(self, error: BaseException | None = None, after: asyncio.Event | None = None) -> None:
        """A call that raises ``error``, which it does at ``after``."""
        with self.breakers.guard("payments"):
            if after is not None:
                await after.wait()
            if error is not None:
                raise error

    async def fails(self, error: BaseException) -> float | None:
        """The state after a call that raises ``error``."""
        with pytest.raises(type(error)):
            await self.ask(error)
        return self.state

    async def opens(self) -> None:
        """Failures in a row."""
        for _ in range(FAILURES_TO_OPEN):
            await self.fails(Unreachable("payments", "refused"))

    async def half_opens(self) -> None:
        """Opens, and the time is over."""
        await self.opens()
        self.let_time_pass()


@pytest.fixture
def circuit(let_time_pass: Callable[[], None]) -> Circuit:
    """A circuit that is closed."""
    return Circuit(let_time_pass)


def test_an_open_breaker_tries_again_and_closes(circuit: Circuit) -> None:
    async def ask() -> None:
        await circuit.opens()
        await circuit.fails(CircuitOpen("payments", "open"))
        circuit.let_time_pass()
        for _ in range(2):
            await circuit.ask()

    asyncio.run(ask())


def test_a_call_that_is_cancelled_tells_the_breaker_nothing(circuit: Circuit) -> None:
    async def ask() -> list[float | None]:
        late = TimedOut("payments", "no answer")
        for _ in range(FAILURES_TO_OPEN - 1):
            await circuit.fails(late)
        # Whoever left before the time was up does not make good the failures before.
        found = [await circuit.fails(asyncio.CancelledError()), await circuit.fails(late)]
        circuit.let_time_pass()
        return [*found, await circuit.fails(asyncio.CancelledError()), await circuit.fails(late)]

    assert asyncio.run(ask()) == [STATES[name] for name in (CLOSED, OPENED, HALF_OPENED, OPENED)]


def test_an_open_circuit_is_shown_as_half_open_once_its_time_is_over_without_a_call(circuit: Circuit) -> None:
    async def ask() -> list[float | None]:
        await circuit.opens()
        states = [circuit.state]
        circuit.let_time_pass()
        return [*states, circuit.state]

    assert asyncio.run(ask()) == [STATES[OPENED], STATES[HALF_OPENED]]


@pytest.mark.parametrize(("error", "then"), [(None, CLOSED), (Unreachable("payments", "refused"), OPENED)])
def test_one_call_tries_a_half_open_circuit_and_decides_about_it(
    circuit: Circuit, error: Exception | None, then: str
) -> None:
    async def ask() -> tuple[float | None, list[BaseException | None], float | None]:
        answer = asyncio.Event()
        await circuit.half_opens()
        calls = [asyncio.create_task(circuit.ask(error, answer)) for _ in range(50)]
        await asyncio.sleep(0)
        during = circuit.state
        answer.set()
        return during, await asyncio.gather(*calls, return_exceptions=True), circuit.state

    during, ended, after = asyncio.run(ask())
    assert (during, after) == (STATES[HALF_OPENED], STATES[then])
    assert ended[0] is error
    assert {type(one) for one in ended[1:]} == {CircuitOpen}


def test_where_the_call_that_tries_is_cancelled_another_one_may(circuit: Circuit) -> None:
    async def ask() -> float | None:
        await circuit.half_opens()
        trying = asyncio.create_task(circuit.ask(after=asyncio.Event()))
        await asyncio.sleep(0)
        await circuit.fails(CircuitOpen("payments", "half open"))
        trying.cancel()
        await asyncio.wait([trying])
        assert circuit.state == STATES[HALF_OPENED]
        await circuit.ask()
        return circuit.state

    assert asyncio.run(ask()) == STATES[CLOSED]


@pytest.mark.parametrize("error", [None, Unreachable("payments", "refused")])
def test_a_call_from_before_the_circuit_opened_does_not_decide_about_it(
    circuit: Circuit, error: Exception | None
) -> None:
    async def ask() -> float | None:
        answer = asyncio.Event()
        old = asyncio.create_task(circuit.ask(error, answer))
        await asyncio.sleep(0)
        await circuit.half_opens()
        trying = asyncio.create_task(circuit.ask(after=asyncio.Event()))
        await asyncio.sleep(0)
        answer.set()
        await asyncio.gather(old, return_exceptions=True)
        found = circuit.state
        trying.cancel()
        await asyncio.wait([trying])
        return found

    assert asyncio.run(ask()) == STATES[HALF_OPENED]


def test_a_request_that_cannot_be_sent_tells_the_breaker_nothing(
    make_telemetry: MakeTelemetry, let_time_pass: Callable[[], None]
) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    failing, unsendable = Unreachable("payments", "refused"), httpx.LocalProtocolError("header value")
    answers: list[Exception] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        raise answers.pop(0)

    client = payments(telemetry, answer)

    async def ask(*errors: Exception) -> None:
        for error in errors:
            answers.append(httpx.ConnectError("refused") if error is failing else error)
            with pytest.raises(type(error)):
                await client.post("/")

    async def all_of_it() -> None:
        await ask(*[failing] * (FAILURES_TO_OPEN - 1), unsendable, failing)
        assert state(telemetry) == STATES[OPENED]
        let_time_pass()
        await ask(unsendable)
        assert state(telemetry) == STATES[HALF_OPENED]
        await ask(failing)
        assert state(telemetry) == STATES[OPENED]

    asyncio.run(all_of_it())
