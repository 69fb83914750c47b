"""Chats: tools, streams, failures and the other model that answers; Redis is away, so nothing is cached."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_orchestrator.app import build
from llm_providers import MODELS
from lookout.verify.polling import NotYet, poll_until
from mcp_server.app import build as build_mcp_server
from simulators import llm
from simulators.app import build as build_simulators
from telemetry import Telemetry
from telemetry.audit import ANONYMOUS, session
from tests.unit.services.helpers import AuditInMemory, MakeTelemetry
from tests.unit.services.servers import serving

Headers = list[tuple[bytes, bytes]]
QUESTION = "one two three four five six seven eight nine"


class Orchestrator:
    """The running orchestrator."""

    def __init__(self, url: str, telemetry: Telemetry, audit: AuditInMemory) -> None:
        self._url = url
        self.telemetry = telemetry
        self.audit = audit
        self.value = telemetry.metrics.registry.get_sample_value

    def chat(self, headers: Headers | None = None, **body: Any) -> httpx.Response:
        """One turn."""
        asked = {"message": QUESTION, **body}
        return httpx.post(f"{self._url}/chat", json=asked, headers=headers, timeout=10, trust_env=False)

    @contextmanager
    def streamed(self, **body: Any) -> Iterator[httpx.Response]:
        """One turn, whose answer is read as it comes."""
        asked = {"message": QUESTION, **body}
        with (
            httpx.Client(timeout=10, trust_env=False) as client,
            client.stream("POST", f"{self._url}/chat", json=asked) as answer,
        ):
            yield answer

    def requests(self, model: str, status: str) -> float | None:
        """llm_requests_total."""
        labels = {"provider": MODELS[model].provider, "model": model, "status": status}
        return self.value("llm_requests_total", labels)


@pytest.fixture
def orchestrator(
    make_telemetry: MakeTelemetry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Orchestrator]:
    (tmp_path / "key").write_text("key-of-a-test")
    audit = AuditInMemory()
    environ = {
        "PROVIDER_API_KEY_FILE": str(tmp_path / "key"),
        "AIRTABLE_TOKEN_FILE": str(tmp_path / "key"),
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATABASE_URL": "postgresql://lookout@127.0.0.1:1/lookout",
        "UPSTREAM_AUTOMATION_SERVICES": "http://127.0.0.1:1",
    }
    with serving(build_simulators(make_telemetry(**environ))) as simulators:
        environ["UPSTREAM_SIMULATORS"] = simulators
        tools = make_telemetry(**environ)
        monkeypatch.setattr(tools, "audit", lambda *_: audit)
        with serving(build_mcp_server(tools)) as mcp_server:
            telemetry = make_telemetry(**environ, UPSTREAM_MCP_SERVER=mcp_server, OTEL_SERVICE_NAME="llm-orchestrator")
            with serving(build(telemetry)) as url:
                yield Orchestrator(url, telemetry, audit)


def events(answer: httpx.Response) -> list[tuple[str | None, Any]]:
    """Name and data of each server-sent event."""
    found = []
    for block in answer.text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((lines.get("event"), json.loads(lines["data"])))
    return found


def test_a_chat_uses_its_tool_and_tells_what_it_cost(orchestrator: Orchestrator) -> None:
    answer = orchestrator.chat(model="claude-sonnet", tool="word_count")
    assert answer.json() == {
        "answer": "nine eight seven six five four three two one",
        "provider": "claude",
        "model": "claude-sonnet",
        "tokens": {"input": 9, "output": 9},
        "cost_usd": pytest.approx(9 * 18e-6),
        "tool": {"words": 9, "characters": len(QUESTION)},
        "cached": False,
    }


def test_a_stream_comes_in_parts_and_ends_with_the_whole(orchestrator: Orchestrator) -> None:
    answer = orchestrator.chat(model="kimi-k2", stream=True, tool="word_count")
    assert answer.headers["content-type"].startswith("text/event-stream")
    *deltas, (name, done) = events(answer)
    assert len(deltas) == 3
    assert "".join(data["delta"] for _, data in deltas) == done["answer"]
    assert name == "done"
    assert done["tokens"] == {"input": 9, "output": 9}
    assert done["tool"]["words"] == 9
    labels = {"provider": "kimi", "model": "kimi-k2"}
    assert orchestrator.value("llm_time_to_first_token_seconds_count", labels) == 1
    assert orchestrator.value("ai_tokens_total", labels | {"type": "output"}) == 9


@pytest.mark.parametrize("stream", [False, True])
def test_the_tool_of_a_chat_is_called_by_the_session_that_chats_and_its_token_is_not_told(
    orchestrator: Orchestrator, spans: InMemorySpanExporter, capsys: pytest.CaptureFixture[str], stream: bool
) -> None:
    headers = [(b"authorization", b"Bearer quokk\xe4")]
    assert orchestrator.chat(headers, tool="word_count", stream=stream).status_code == 200
    assert orchestrator.chat(tool="word_count", stream=stream).status_code == 200
    assert [who for _action, who, _on, _outcome in orchestrator.audit.events] == [session("quokkä"), ANONYMOUS]
    orchestrator.telemetry.tracing.provider.force_flush()
    told = capsys.readouterr().out + "".join(span.to_json() for span in spans.get_finished_spans())
    assert "POST mcp-server" in told
    assert "telemetry.access" in told
    assert "quokk" not in told


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "unavailable"}, 502, "provider_failed"),
        ({"model": "overloaded"}, 502, "provider_failed"),
        ({"model": "throttled"}, 429, "provider_throttled"),
        ({"model": "invented"}, 400, "http_error"),
        ({"message": ""}, 400, "http_error"),
        ({"tool": "invented"}, 400, "http_error"),
        ({"tool": "word\ncount"}, 400, "http_error"),
        ({"tool": "word_count "}, 400, "http_error"),
        ({"tool": "zählen"}, 400, "http_error"),
        ({"tool": "search"}, 502, "tool_failed"),
    ],
)
def test_what_fails_before_the_answer_began_has_a_status_of_its_own(
    orchestrator: Orchestrator, stream: bool, body: dict[str, Any], status: int, code: str
) -> None:
    answer = orchestrator.chat(**body, stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 429)


def test_a_stream_that_breaks_off_ends_with_an_error(orchestrator: Orchestrator) -> None:
    *deltas, (name, last) = events(orchestrator.chat(model="broken-stream", stream=True))
    assert deltas
    assert (name, last["error"]["code"]) == ("error", "provider_failed")
    assert orchestrator.requests("broken-stream", "error") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_another_model_answers_while_the_circuit_of_a_provider_is_open(
    orchestrator: Orchestrator, stream: bool
) -> None:
    while orchestrator.chat(model="unavailable").status_code == 502:
        pass
    assert orchestrator.value("circuit_breaker_state", {"dependency": "mistral"}) == 2
    # The models that exist to fail go on failing.
    assert orchestrator.chat(model="unavailable").status_code == 503
    answer = orchestrator.chat(model="mistral-small", stream=stream)
    found = events(answer)[-1][1] if stream else answer.json()
    assert (found["model"], found["provider"]) == ("glm-4", "glm")
    assert orchestrator.requests("mistral-small", "circuit_open") == 1
    assert orchestrator.requests("glm-4", "success") == 1
    labels = {"provider": "mistral", "model": "mistral-small", "fallback": "glm-4"}
    assert orchestrator.value("llm_fallbacks_total", labels) == 1
    assert orchestrator.value("ai_tokens_total", {"provider": "glm", "model": "glm-4", "type": "input"}) == 9


def test_a_fallback_is_a_model_of_another_provider() -> None:
    for model in MODELS.values():
        assert model.fallback is None or MODELS[model.fallback].provider != model.provider


def test_a_client_that_leaves_ends_the_request_to_the_provider(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "SECONDS_PER_TOKEN", 0.1)
    with orchestrator.streamed(model="claude-sonnet", stream=True) as answer:
        next(answer.iter_text())

    def cancelled() -> None:
        if orchestrator.requests("claude-sonnet", "cancelled") != 1:
            raise NotYet("it goes on")

    poll_until(cancelled, "the end of the request", within=2, every=0.05)
    assert orchestrator.value("ai_tokens_total", {"provider": "claude", "model": "claude-sonnet", "type": "input"}) == 9
