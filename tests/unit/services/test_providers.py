"""Clients of the LLM providers against the simulated ones: each one's API, its failures, and the accounts."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_orchestrator.metrics import ChatAccounts
from llm_providers import MODELS, ProviderError, ProviderFailed, Providers, ProviderThrottled
from llm_providers.providers import DIALECTS, seconds_until_again
from simulators.app import build as build_simulators
from telemetry import CircuitOpen, Telemetry, TimedOut, Unreachable
from tests.unit.services.helpers import MakeTelemetry

KEY = "key-of-a-test"
QUESTION = "one two three four five, six seven eight nine ten"
ANSWER = "ten nine eight seven six five, four three two one"
OF_EACH_PROVIDER = ["mistral-small", "kimi-k2", "glm-4", "claude-sonnet"]


class Asked:
    """Providers with everything around them; ``value`` reads a metric."""

    def __init__(self, telemetry: Telemetry, inner: httpx.AsyncBaseTransport) -> None:
        self.telemetry = telemetry
        self.providers = Providers(telemetry, ChatAccounts(telemetry), inner)
        self.value = telemetry.metrics.registry.get_sample_value

    def complete(self, model: str) -> Any:
        """An answer at once."""
        return asyncio.run(self.providers.complete(model, QUESTION))

    def stream(self, model: str) -> list[Any]:
        """All deltas of an answer."""

        async def collect() -> list[Any]:
            return [delta async for delta in self.providers.stream(model, QUESTION)]

        return asyncio.run(collect())

    def requests(self, model: str, status: str) -> float | None:
        """llm_requests_total."""
        return self.value("llm_requests_total", {"provider": MODELS[model].provider, "model": model, "status": status})


MakeAsked = Callable[..., Asked]


@pytest.fixture
def ask(make_telemetry: MakeTelemetry, tmp_path: Path) -> MakeAsked:
    """Providers that ask the simulators; ``environ`` sets the simulators up."""

    def make(key: str = KEY, **environ: str) -> Asked:
        (tmp_path / "right").write_text(KEY)
        (tmp_path / "given").write_text(key)
        right = str(tmp_path / "right")
        simulators = make_telemetry(PROVIDER_API_KEY_FILE=right, AIRTABLE_TOKEN_FILE=right, TRAFFIC_SEED="1", **environ)
        telemetry = make_telemetry(
            PROVIDER_API_KEY_FILE=str(tmp_path / "given"), UPSTREAM_SIMULATORS="http://simulators:7100"
        )
        return Asked(telemetry, httpx.ASGITransport(build_simulators(simulators)))

    return make


@pytest.mark.parametrize("model", OF_EACH_PROVIDER)
def test_each_provider_answers_at_once_and_is_billed(ask: MakeAsked, model: str) -> None:
    asked = ask()
    completion = asked.complete(model)
    assert completion.text == ANSWER
    assert (completion.usage.input, completion.usage.output) == (11, 11)
    labels = {"provider": MODELS[model].provider, "model": model}
    assert asked.requests(model, "success") == 1
    assert asked.value("ai_tokens_total", labels | {"type": "input"}) == 11
    assert asked.value("ai_tokens_total", labels | {"type": "output"}) == 11
    assert asked.value("llm_cost_usd_total", labels) == pytest.approx(MODELS[model].cost(11, 11))
    assert asked.value("llm_request_duration_seconds_count", labels) == 1


@pytest.mark.parametrize("model", OF_EACH_PROVIDER)
def test_each_provider_streams_the_same_answer_in_parts_and_is_billed_the_same(ask: MakeAsked, model: str) -> None:
    asked = ask()
    texts = [delta.text for delta in asked.stream(model) if delta.text]
    assert "".join(texts) == ANSWER
    assert len(texts) == 3
    labels = {"provider": MODELS[model].provider, "model": model}
    assert asked.value("ai_tokens_total", labels | {"type": "input"}) == 11
    assert asked.value("ai_tokens_total", labels | {"type": "output"}) == 11


@pytest.mark.parametrize(
    ("model", "kinds"),
    [("mistral-small", {"requests": 1199, "tokens": 400_000 - 22}), ("kimi-k2", {"requests": 1199}), ("glm-4", {}),
     ("claude-sonnet", {"requests": 1199, "tokens": 400_000 - 22})],
)  # fmt: skip
def test_what_is_left_of_the_limits_is_read_from_the_headers_of_each(
    ask: MakeAsked, model: str, kinds: dict[str, float]
) -> None:
    asked = ask()
    asked.complete(model)
    for kind in ("requests", "tokens"):
        labels = {"provider": MODELS[model].provider, "limit": kind}
        assert asked.value("llm_rate_limit_remaining", labels) == kinds.get(kind)


@pytest.mark.parametrize("model", OF_EACH_PROVIDER)
def test_a_wrong_key_is_refused_and_not_tried_again(ask: MakeAsked, model: str) -> None:
    asked = ask(key="wrong")
    with pytest.raises(ProviderError, match="401"):
        asked.complete(model)
    assert asked.requests(model, "error") == 1


@pytest.mark.parametrize("model", OF_EACH_PROVIDER)
def test_a_provider_whose_minute_is_spent_throttles_and_says_until_when(ask: MakeAsked, model: str) -> None:
    asked = ask(LLM_REQUESTS_PER_MINUTE="1")
    asked.complete(model)
    with pytest.raises(ProviderThrottled) as caught:
        asked.complete(model)
    assert 50 < caught.value.retry_after <= 61
    # So long a wait is not waited for.
    assert asked.requests(model, "throttled") == 1


def test_a_provider_whose_tokens_are_spent_throttles_too(ask: MakeAsked) -> None:
    asked = ask(LLM_TOKENS_PER_MINUTE="30")
    asked.complete("glm-4")
    with pytest.raises(ProviderThrottled):
        asked.complete("glm-4")


def test_a_short_throttling_is_waited_for_as_the_provider_says(ask: MakeAsked, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await real(0)

    asked = ask()
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(ProviderThrottled):
        asked.complete("throttled")
    assert asked.requests("throttled", "throttled") == 2
    [wait] = waited
    assert 1.1 <= wait <= 1.4


@pytest.mark.parametrize(("model", "status"), [("unavailable", "500"), ("overloaded", "529")])
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_fails_before_it_began_is_asked_once_more(
    ask: MakeAsked, model: str, status: str, stream: bool
) -> None:
    asked = ask()
    with pytest.raises(ProviderFailed, match=status):
        (asked.stream if stream else asked.complete)(model)
    assert asked.requests(model, "error") == 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_breaks_off_is_a_failure_and_not_asked_for_again(ask: MakeAsked, stream: bool) -> None:
    asked = ask()
    with pytest.raises(ProviderFailed, match="broke off" if stream else "no completion"):
        (asked.stream if stream else asked.complete)("broken-stream")
    assert asked.requests("broken-stream", "error") == 1


def test_each_provider_has_a_circuit_of_its_own(ask: MakeAsked) -> None:
    asked = ask()
    for _ in range(2):
        with pytest.raises(ProviderFailed):
            asked.complete("unavailable")
    with pytest.raises((ProviderFailed, CircuitOpen)):
        asked.complete("unavailable")
    state = "circuit_breaker_state"
    assert asked.value(state, {"dependency": "mistral"}) == 2
    assert asked.value(state, {"dependency": "kimi"}) == 0
    with pytest.raises(CircuitOpen):
        asked.complete("mistral-small")
    assert asked.requests("mistral-small", "circuit_open") == 1
    assert asked.complete("kimi-k2").text == ANSWER


def test_a_consumer_that_leaves_is_counted_and_billed_for_what_is_known(ask: MakeAsked) -> None:
    asked = ask()

    async def leave_early() -> None:
        deltas = asked.providers.stream("claude-sonnet", QUESTION)
        async for delta in deltas:
            if delta.text:
                break
        await deltas.aclose()

    asyncio.run(leave_early())
    labels = {"provider": "claude", "model": "claude-sonnet"}
    assert asked.requests("claude-sonnet", "cancelled") == 1
    assert asked.value("ai_tokens_total", labels | {"type": "input"}) == 11
    assert asked.value("ai_tokens_total", labels | {"type": "output"}) == 0


def test_only_what_certainly_generated_nothing_is_asked_again() -> None:
    never_made = Unreachable("mistral", "refused")
    never_made.__cause__ = httpx.ConnectError("refused")
    assert seconds_until_again(never_made) is not None
    assert seconds_until_again(ProviderThrottled("mistral", 429, "", 1.5)) == pytest.approx(1.75, abs=0.16)
    assert seconds_until_again(ProviderThrottled("mistral", 429, "", 20)) is None
    assert seconds_until_again(Unreachable("mistral", "reset")) is None
    assert seconds_until_again(TimedOut("mistral", "late")) is None
    assert seconds_until_again(CircuitOpen("mistral", "open")) is None


@pytest.mark.parametrize("stream", [False, True])
def test_the_span_of_a_request_tells_model_and_tokens_and_holds_the_http_request(
    ask: MakeAsked, spans: InMemorySpanExporter, stream: bool
) -> None:
    asked = ask()
    (asked.stream if stream else asked.complete)("claude-sonnet")
    asked.telemetry.tracing.provider.force_flush()
    found = {span.name: span for span in spans.get_finished_spans()}
    chat, http = found["chat claude-sonnet"], found["POST claude"]
    assert chat.attributes is not None
    assert chat.attributes["gen_ai.usage.input_tokens"] == 11
    assert chat.attributes["gen_ai.usage.output_tokens"] == 11
    assert http.parent is not None
    assert chat.context is not None
    assert http.parent.span_id == chat.context.span_id


@pytest.mark.parametrize("provider", sorted(DIALECTS))
@pytest.mark.parametrize("answer", ['{"choices": []}', "{}", "[]", "null", '{"content": [{}], "usage": {}}', "<html>"])
def test_an_answer_that_makes_no_sense_is_the_provider_s_failure(
    make_telemetry: MakeTelemetry, tmp_path: Path, provider: str, answer: str
) -> None:
    (tmp_path / "key").write_text(KEY)
    telemetry = make_telemetry(PROVIDER_API_KEY_FILE=str(tmp_path / "key"), UPSTREAM_SIMULATORS="http://simulators:1")
    asked = Asked(telemetry, httpx.MockTransport(lambda _request: httpx.Response(200, text=answer)))
    model = next(name for name, model in MODELS.items() if model.provider == provider)
    with pytest.raises(ProviderFailed):
        asked.complete(model)
    assert asked.requests(model, "error") == 1
