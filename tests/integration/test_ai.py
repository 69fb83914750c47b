"""The services around models on the running stack: MCP, chats with each provider, Airtable, and what they count.

What is counted is compared exactly, so the generator of traffic is paused meanwhile.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Literal, cast

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent
from prometheus_client.parser import text_string_to_metric_families

from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from simulators.llm import MAX_ANSWER_WORDS, WORDS_IN_A_CHUNK
from tests.integration import exposed
from tests.integration.journeys import kept_traceparent

pytestmark = pytest.mark.integration

OF_EACH_PROVIDER = {
    "mistral-small": "mistral",
    "kimi-k2": "kimi",
    "glm-4": "glm",
    "claude-sonnet": "claude",
}
MEBIBYTE = 2**20
MEMORY_AT_REST = 90 * MEBIBYTE
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
Conversation = Callable[[Client], Coroutine[Any, Any, Any]]


def samples(stack: Project, service: str) -> Samples:
    """Every sample that a service exposes now."""
    text = httpx.get(f"{stack.live.url(service)}/metrics", timeout=5).text
    return {
        (sample.name, frozenset((name, value) for name, value in sample.labels.items() if name != "service")): float(
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Moved:
    """How far the samples of a service have moved since this was made."""

    def __init__(self, stack: Project, service: str) -> None:
        self._stack = stack
        self._service = service
        self._before = samples(stack, service)

    def by(self, name: str, **labels: str) -> float:
        """The sum of all series of that name that have these labels."""
        after = samples(self._stack, self._service)

        def total(found: Samples) -> float:
            return sum(value for (n, held), value in found.items() if n == name and set(labels.items()) <= held)

        return total(after) - total(self._before)


@pytest.fixture(scope="module")
def quiet(stack: Project) -> Iterator[Project]:
    """The stack without traffic; what was under way has ended."""
    with exposed.quiet(stack):
        yield stack

    def healthy() -> None:
        health = stack.compose.containers()["traffic"]["State"].get("Health", {}).get("Status")
        if health != "healthy":
            raise NotYet(f"traffic is {health}")

    poll_until(healthy, "traffic that is healthy again", within=60, every=1)


def talk(
    stack: Project, mode: Literal["auto", "legacy"], conversation: Conversation, headers: dict[str, str] | None = None
) -> Any:
    """A conversation of the official SDK's client with the published server; it ends by itself."""

    async def run() -> Any:
        async with httpx2.AsyncClient(headers=headers or {}, timeout=30) as http:
            transport = streamable_http_client(f"{stack.live.url('mcp-server')}/mcp", http_client=http)
            async with asyncio.timeout(60), Client(transport, mode=mode) as client:
                return await conversation(client)

    return asyncio.run(run())


async def _call_each_tool(client: Client) -> dict[str, Any]:
    """Each tool once, on a note of its own; results by tool."""
    word = uuid.uuid4().hex
    assert len((await client.list_tools()).tools) == 8
    found: dict[str, Any] = {}

    async def call(name: str, arguments: dict[str, Any]) -> Any:
        called = await client.call_tool(name, arguments)
        text = "".join(part.text for part in called.content if isinstance(part, TextContent))
        assert not called.is_error, f"{name}: {text}"
        assert called.structured_content is not None
        found[name] = called.structured_content["result"]
        return found[name]

    await call("word_count", {"text": "one two three"})
    note = (await call("remember", {"text": f"a note about {word}"}))["id"]
    assert [one["id"] for one in await call("search", {"text": word})] == [note]
    assert note in [one["id"] for one in await call("notes", {"limit": 10})]
    assert (await call("fetch", {"id": note}))["text"] == f"a note about {word}"
    assert f"note:///{note}" in [str(one.uri) for one in (await client.list_resources()).resources]
    assert "a note about" in str((await client.read_resource(f"note:///{note}")).contents[0])
    assert (await call("forget", {"id": note})) == {"forgotten": True}
    await call("review", {"text": "TODO later"})
    await call("summarize", {"text": f"about {word}", "model": "claude-sonnet"})
    return found


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_of_the_official_sdk_calls_every_tool_and_each_is_counted(
    quiet: Project, mode: Literal["auto", "legacy"]
) -> None:
    moved = Moved(quiet, "mcp-server")
    found = talk(quiet, mode, _call_each_tool)
    assert found["word_count"] == {"words": 3, "characters": 13}
    for tool in found:
        assert moved.by("mcp_tool_executions_total", tool=tool, status="success") == 1, tool
        assert moved.by("mcp_tool_duration_seconds_count", tool=tool) == 1, tool
    assert moved.by("mcp_tool_executions_total", status="error") == 0
    assert moved.by("mcp_requests_total", method="tools/call", endpoint="/mcp", status="success") == 8
    assert moved.by("mcp_requests_total", method="tools/list", status="success") == 1
    opening = "initialize" if mode == "legacy" else "server/discover"
    assert moved.by("mcp_requests_total", method=opening, status="success") == 1
    for operation, count in {"store": 1, "search": 1, "newest": 2, "read": 2, "delete": 1}.items():
        labels = {"operation": operation, "backend": "postgres", "result": "ok"}
        assert moved.by("mcp_storage_operations_total", **labels) == count, operation
    assert moved.by("mcp_cache_operations_total", operation="get", result="miss") == 1
    assert moved.by("mcp_cache_operations_total", operation="set", result="ok") == 1
    labels = {"provider": "claude", "model": "claude-sonnet"}
    tokens = found["summarize"]["tokens"]
    assert moved.by("mcp_api_calls_total", **labels, status="success") == 1
    assert moved.by("mcp_api_latency_seconds_count", **labels) == 1
    assert moved.by("mcp_tokens_total", **labels, type="input") == tokens["input"]
    assert moved.by("mcp_tokens_total", **labels, type="output") == tokens["output"]


def test_sessions_and_streams_are_counted_while_they_are_open(quiet: Project) -> None:
    def connections() -> float:
        return samples(quiet, "mcp-server")[("mcp_active_connections", frozenset())]

    async def listen(client: Client) -> float:
        async with client.listen(resources_list_changed=True) as changes:
            open_now = await asyncio.to_thread(connections)
            # Another client's note is seen here.
            await asyncio.to_thread(talk, quiet, "auto", remember)
            async for change in changes:
                assert type(change).__name__ == "ResourcesListChanged"
                break
            return open_now

    async def remember(client: Client) -> None:
        await client.call_tool("remember", {"text": "something new"})

    async def session(_client: Client) -> float:
        return await asyncio.to_thread(connections)

    assert connections() == 0
    assert talk(quiet, "legacy", session) == 1
    assert talk(quiet, "auto", listen) == 1

    def none() -> None:
        if (now := connections()) != 0:
            raise NotYet(f"{now:.0f} connections")

    poll_until(none, "no connection", within=10)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_trace_of_a_client_goes_through_its_tool_to_the_service_behind(
    quiet: Project, mode: Literal["auto", "legacy"]
) -> None:
    traceparent = kept_traceparent()

    async def review(client: Client) -> None:
        assert not (await client.call_tool("review", {"text": "the the end"})).is_error

    talk(quiet, mode, review, {"traceparent": traceparent, "x-correlation-id": f"it-{uuid.uuid4().hex}"})

    def crossed() -> None:
        spans = quiet.live.trace(traceparent.split("-")[1])
        if not {"mcp-server", "automation-services"} <= set(spans):
            raise NotYet(f"the trace has only {sorted(spans)}")

    poll_until(crossed, "the trace", within=60, every=1)


def ask(stack: Project, **body: Any) -> httpx.Response:
    """A chat through the gateway; its message is asked once only."""
    message = {"message": f"What is an error budget of {uuid.uuid4().hex}?"}
    return httpx.post(f"{stack.live.url('api-gateway')}/api/chat", json=message | body, timeout=40)


@pytest.mark.parametrize("model", OF_EACH_PROVIDER)
def test_a_chat_with_each_provider_is_billed_as_its_answer_says(quiet: Project, model: str) -> None:
    moved = Moved(quiet, "llm-orchestrator")
    answer = ask(quiet, model=model, tool="word_count")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    labels = {"provider": OF_EACH_PROVIDER[model], "model": model}
    assert (found["provider"], found["model"]) == (labels["provider"], model)
    assert found["tokens"]["input"] > 0
    assert found["tokens"]["output"] > 0
    assert moved.by("ai_tokens_total", **labels, type="input") == found["tokens"]["input"]
    assert moved.by("ai_tokens_total", **labels, type="output") == found["tokens"]["output"]
    assert moved.by("ai_tokens_total") == sum(found["tokens"].values())
    assert moved.by("llm_cost_usd_total", **labels) == pytest.approx(found["cost_usd"], rel=1e-6)
    assert moved.by("llm_requests_total", **labels, status="success") == 1
    assert moved.by("llm_request_duration_seconds_count", **labels) == 1


def test_the_same_chat_again_is_a_hit_of_the_cache_and_costs_nothing(quiet: Project) -> None:
    message = f"Again {uuid.uuid4().hex}?"
    assert ask(quiet, message=message).json()["cached"] is False
    moved = Moved(quiet, "llm-orchestrator")
    assert ask(quiet, message=message).json()["cached"] is True
    assert moved.by("cache_operations_total", operation="get", result="hit") == 1
    assert moved.by("ai_tokens_total") == 0
    assert moved.by("llm_requests_total") == 0


@pytest.mark.parametrize("model", OF_EACH_PROVIDER)
def test_a_streamed_answer_arrives_in_several_parts_before_it_is_whole(quiet: Project, model: str) -> None:
    def arrives() -> None:
        moved = Moved(quiet, "llm-orchestrator")
        message = " ".join([uuid.uuid4().hex, *map(str, range(1, MAX_ANSWER_WORDS))])
        body = {"message": message, "model": model, "stream": True}
        times: list[float] = []
        text = ""
        # Through the frontend and the gateway, which pass each part on.
        with httpx.stream("POST", f"{quiet.live.url('frontend')}/api/chat", json=body, timeout=40) as answer:
            for part in answer.iter_text():
                times.append(time.monotonic())
                text += part
        assert text.count('"delta"') == MAX_ANSWER_WORDS / WORDS_IN_A_CHUNK
        assert "event: done" in text
        labels = {"provider": OF_EACH_PROVIDER[model], "model": model}
        assert moved.by("llm_requests_total", **labels, status="success") == 1
        assert moved.by("llm_time_to_first_token_seconds_count", **labels) == 1
        assert moved.by("ai_tokens_total", **labels, type="output") >= MAX_ANSWER_WORDS
        if len(times) == 1 or times[-1] - times[0] < 0.005:
            raise NotYet("all of it at once: the machine held up this client, or somebody on the way keeps it back")

    poll_until(arrives, "an answer in parts", within=20)


def test_a_provider_that_throttles_is_counted_and_the_gateway_says_when_to_come_back(quiet: Project) -> None:
    moved, passed = Moved(quiet, "llm-orchestrator"), Moved(quiet, "api-gateway")
    answer = ask(quiet, model="throttled")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    # Once, and once more after the wait that the provider asked for.
    assert moved.by("llm_requests_total", model="throttled", status="throttled") == 2
    assert passed.by("upstream_requests_total", upstream="llm-orchestrator", status="429") == 1


def test_what_the_provider_says_of_its_limits_is_seen(quiet: Project) -> None:
    ask(quiet, model="mistral-small")
    before = samples(quiet, "llm-orchestrator")
    ask(quiet, model="mistral-small")
    after = samples(quiet, "llm-orchestrator")
    key = ("llm_rate_limit_remaining", frozenset({("provider", "mistral"), ("limit", "tokens")}))
    assert 0 < after[key] < before[key]


def test_over_the_limit_of_airtable_calls_are_throttled_here_and_never_there(quiet: Project) -> None:
    moved = Moved(quiet, "airtable-gateway")
    url = quiet.live.url("airtable-gateway")

    async def burst() -> tuple[list[httpx.Response], float]:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            asked = [asyncio.create_task(client.get("/records?table=it-burst")) for _ in range(40)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert done
            lowest = 5.0
            while not all(task.done() for task in asked):
                text = (await client.get("/metrics")).text
                [line] = [one for one in text.splitlines() if one.startswith("airtable_rate_limit_remaining{")]
                lowest = min(lowest, float(line.split()[-1]))
                await asyncio.sleep(0.1)
            return [task.result() for task in asked], lowest

    answers, lowest = asyncio.run(burst())
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert lowest == 0
    assert moved.by("airtable_throttled_total") == len(refused)
    assert moved.by("airtable_requests_total", operation="list", status="200") == len(answers) - len(refused)
    assert moved.by("airtable_requests_total", status="429") == 0


def test_records_go_to_airtable_in_batches_and_come_back_in_order(quiet: Project) -> None:
    moved = Moved(quiet, "airtable-gateway")
    url, table = quiet.live.url("airtable-gateway"), f"it-{uuid.uuid4().hex}"
    records = [{"fields": {"n": n}} for n in range(23)]
    made = httpx.post(f"{url}/records?table={table}", json={"records": records}, timeout=30)
    assert made.status_code == 201, made.text
    found = httpx.get(f"{url}/records?table={table}", timeout=30).json()["records"]
    assert [record["fields"]["n"] for record in found] == list(range(23))
    assert moved.by("airtable_requests_total", operation="create", status="200") == 3
    assert moved.by("airtable_requests_total", operation="list", status="200") == 1
    assert moved.by("airtable_throttled_total") == 0


@pytest.mark.parametrize("service", ["mcp-server", "llm-orchestrator", "airtable-gateway"])
def test_a_service_stays_below_its_memory_at_rest(quiet: Project, service: str) -> None:
    memory = cast(int, httpx.get(f"{quiet.live.url(service)}/health", timeout=5).json()["memory_bytes"])
    assert memory < MEMORY_AT_REST, f"{memory / MEBIBYTE:.1f} MiB"
