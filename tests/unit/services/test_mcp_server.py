"""The MCP server as a client of the official SDK sees it, in both eras of the protocol; PostgreSQL is away."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import asyncpg
import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import RequestParamsMeta, TextContent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_orchestrator.mcp_client import NoSuchTool, ToolError, Tools
from lookout.verify.polling import NotYet, poll_until
from mcp_server.app import build
from mcp_server.arguments import BadArguments, Parameters, Text, Whole, read, schema
from mcp_server.storage import Storage
from simulators.app import build as build_simulators
from telemetry import Telemetry
from tests.unit.services.helpers import AuditInMemory, LogLines, MakeTelemetry
from tests.unit.services.servers import serving

SERVICES = Path(__file__).parents[3] / "services"
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
Mode = Literal["auto", "legacy"]
NOBODY = httpx.Headers()
TOOLS = {"word_count", "remember", "search", "notes", "fetch", "forget", "review", "summarize"}


class Served:
    """The running server."""

    def __init__(self, url: str, telemetry: Telemetry, audit: AuditInMemory) -> None:
        self.url = url
        self.telemetry = telemetry
        self.audit = audit

    def value(self, name: str, **labels: str) -> float | None:
        """A metric, after a scrape."""
        httpx.get(f"{self.url}/metrics", trust_env=False).raise_for_status()
        return self.telemetry.metrics.registry.get_sample_value(name, labels)

    def talk(self, mode: Mode, conversation: Callable[[Client], Coroutine[Any, Any, Any]]) -> Any:
        """A conversation with a client of its own."""

        async def run() -> Any:
            async with Client(f"{self.url}/mcp", mode=mode) as client:
                return await conversation(client)

        return asyncio.run(run())

    def post(self, path: str, **options: Any) -> httpx.Response:
        """A plain POST."""
        return httpx.post(f"{self.url}{path}", trust_env=False, timeout=10, **options)


@pytest.fixture
def served(make_telemetry: MakeTelemetry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    audit = AuditInMemory()
    (tmp_path / "key").write_text("key-of-a-test")
    keys = {"PROVIDER_API_KEY_FILE": str(tmp_path / "key"), "AIRTABLE_TOKEN_FILE": str(tmp_path / "key")}
    with serving(build_simulators(make_telemetry(**keys))) as simulators:
        telemetry = make_telemetry(
            **keys,
            OTEL_SERVICE_NAME="mcp-server",
            REDIS_URL="redis://127.0.0.1:1/0",
            DATABASE_URL="postgresql://lookout@127.0.0.1:1/lookout",
            UPSTREAM_SIMULATORS=simulators,
            UPSTREAM_AUTOMATION_SERVICES="http://127.0.0.1:1",
        )
        monkeypatch.setattr(telemetry, "audit", lambda *_: audit)
        with serving(build(telemetry)) as url:
            yield Served(url, telemetry, audit)


@ERAS
def test_a_client_of_the_sdk_lists_tools_and_calls_one(served: Served, mode: Mode) -> None:
    async def converse(client: Client) -> Any:
        listed = (await client.list_tools()).tools
        assert {tool.name for tool in listed} == TOOLS
        assert all(tool.description and tool.input_schema["type"] == "object" for tool in listed)
        return await client.call_tool("word_count", {"text": "one two"})

    called = served.talk(mode, converse)
    assert not called.is_error
    assert called.structured_content == {"result": {"words": 2, "characters": 7}}
    assert served.value("mcp_tool_executions_total", tool="word_count", status="success") == 1
    assert served.value("mcp_tool_duration_seconds_count", tool="word_count") == 1
    assert served.audit.events == [("tool_call", "anonymous", "tool:word_count", "success")]
    requests = {"endpoint": "/mcp", "status": "success"}
    assert served.value("mcp_requests_total", method="tools/call", **requests) == 1
    opening = "initialize" if mode == "legacy" else "server/discover"
    assert served.value("mcp_requests_total", method=opening, **requests) == 1


@ERAS
def test_a_tool_that_cannot_do_it_says_so_inside_of_its_result(served: Served, mode: Mode) -> None:
    async def converse(client: Client) -> Any:
        return [
            await client.call_tool(name, arguments)
            for name, arguments in (
                ("word_count", {"text": ""}),
                ("word_count", {"text": "x", "language": "en"}),
                ("remember", {"text": "x"}),
                ("review", {"text": "x"}),
                ("summarize", {"text": "x", "model": "unavailable"}),
            )
        ]

    called = served.talk(mode, converse)
    assert all(one.is_error for one in called)
    texts = [part.text for one in called for part in one.content if isinstance(part, TextContent)]
    assert texts[0] == "text must be text of 1 to 16000 characters"
    assert texts[1] == "no such argument: language"
    assert texts[2] == "postgres failed: dependency_unreachable"
    assert texts[3] == "automation-services failed: dependency_unreachable"
    assert "mistral answered 500" in texts[4]
    assert served.value("mcp_tool_executions_total", tool="word_count", status="invalid") == 2
    assert served.value("mcp_tool_executions_total", tool="remember", status="error") == 1
    assert served.value("mcp_storage_operations_total", operation="store", backend="postgres", result="error") == 1
    assert served.value("mcp_requests_total", method="tools/call", endpoint="/mcp", status="error") == 5
    asked = ("word_count", "word_count", "remember", "review", "summarize")
    assert served.audit.events == [("tool_call", "anonymous", f"tool:{tool}", "failure") for tool in asked]


@ERAS
def test_an_unknown_tool_is_an_error_of_the_protocol_and_no_label(served: Served, mode: Mode) -> None:
    async def converse(client: Client) -> None:
        with pytest.raises(MCPError, match="Unknown tool: invented"):
            await client.call_tool("invented", {})

    served.talk(mode, converse)
    found = httpx.get(f"{served.url}/metrics", trust_env=False).text
    assert "invented" not in found


def test_what_the_database_refuses_is_an_error_of_the_storage_as_its_absence_is(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = make_telemetry(
        DATABASE_URL="postgresql://lookout@127.0.0.1:1/lookout", REDIS_URL="redis://127.0.0.1:1/0"
    )
    database = telemetry.postgres("")

    async def fetch(*_: object) -> list[Any]:
        raise asyncpg.DiskFullError("no space left on device")

    monkeypatch.setattr(database, "fetch", fetch)
    storage = Storage(telemetry, database, telemetry.cache(telemetry.redis(), "mcp", 20))
    with pytest.raises(asyncpg.DiskFullError):
        asyncio.run(storage.store("a note"))
    value, labels = telemetry.metrics.registry.get_sample_value, {"operation": "store", "backend": "postgres"}
    assert value("mcp_storage_operations_total", labels | {"result": "error"}) == 1
    assert value("mcp_storage_operations_total", labels | {"result": "ok"}) == 0


def test_summarize_asks_a_provider_and_counts_it(served: Served) -> None:
    async def converse(client: Client) -> Any:
        return await client.call_tool("summarize", {"text": "alpha beta", "model": "claude-sonnet"})

    result = served.talk("auto", converse).structured_content["result"]
    assert result == {
        "summary": "beta alpha sentence: one in Summarize",
        "model": "claude-sonnet",
        "tokens": {"input": 7, "output": 7},
    }
    labels = {"provider": "claude", "model": "claude-sonnet"}
    assert served.value("mcp_api_calls_total", **labels, status="success") == 1
    assert served.value("mcp_api_latency_seconds_count", **labels) == 1
    assert served.value("mcp_tokens_total", **labels, type="input") == 7
    assert served.value("mcp_tokens_total", **labels, type="output") == 7


def test_a_session_is_a_connection_until_its_client_leaves(served: Served) -> None:
    def connections() -> float | None:
        return served.value("mcp_active_connections")

    async def converse(_client: Client) -> float | None:
        return await asyncio.to_thread(connections)

    assert connections() == 0
    assert served.talk("legacy", converse) == 1
    assert connections() == 0


def test_a_stream_that_listens_is_a_connection(served: Served) -> None:
    async def converse(client: Client) -> float | None:
        async with client.listen(resources_list_changed=True):
            return await asyncio.to_thread(served.value, "mcp_active_connections")

    assert served.talk("auto", converse) == 1


@ERAS
def test_ids_and_trace_of_the_http_request_reach_what_a_tool_does(
    served: Served, spans: InMemorySpanExporter, log_lines: LogLines, mode: Mode
) -> None:
    async def converse(client: Client) -> None:
        await client.call_tool("review", {"text": "x"})

    served.talk(mode, converse)

    def the_chain() -> list[ReadableSpan]:
        """From the HTTP request to what the tool asks; the first ends last, after the client has its answer."""
        served.telemetry.tracing.provider.force_flush()
        finished = spans.get_finished_spans()
        by_id = {span.context.span_id: span for span in finished if span.context is not None}
        chain = [span for span in finished if span.name == "POST automation-services"]
        while chain and chain[0].parent is not None:
            if chain[0].parent.span_id not in by_id:
                raise NotYet(f"the parent of {chain[0].name} has not ended")
            chain.insert(0, by_id[chain[0].parent.span_id])
        return chain

    chain = poll_until(the_chain, "the spans", within=5, every=0.05)
    names = ["POST /mcp", "mcp tools/call", "execute_tool review", "POST automation-services"]
    assert [span.name for span in chain] == names
    http = chain[0]
    assert http.attributes is not None
    lines = [line for line in log_lines() if line["message"] == "tool failed"]
    assert [line["request_id"] for line in lines] == [http.attributes["lookout.request_id"]]


def test_a_trace_that_comes_inside_of_the_message_is_joined(served: Served, spans: InMemorySpanExporter) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    async def converse(client: Client) -> None:
        meta = cast(RequestParamsMeta, {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
        await client.call_tool("word_count", {"text": "x"}, meta=meta)

    served.talk("auto", converse)
    served.telemetry.tracing.provider.force_flush()
    [message] = [span for span in spans.get_finished_spans() if span.name == "mcp tools/call"]
    assert message.context is not None
    assert f"{message.context.trace_id:032x}" == trace_id


def test_unknown_methods_are_one_label(served: Served) -> None:
    envelope = {"_meta": Tools(httpx.AsyncClient(), "test", "1")._meta}
    for method in ("a/b", "c/d"):
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": method,
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": envelope}
        assert served.post("/mcp", json=body, headers=headers).status_code == 404
    assert served.value("mcp_requests_total", method="other", endpoint="/mcp", status="error") == 2


def test_only_the_names_of_this_server_are_served(served: Served) -> None:
    def status(host: str, **headers: str) -> int:
        accept = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28"}
        return served.post("/mcp", json={}, headers=accept | {"host": host} | headers).status_code

    assert status("evil.example") == 421
    assert status("mcp-server:7001", origin="http://evil.example") == 403
    assert {status(host) for host in ("mcp-server:7001", "mcp-server", "localhost:1", "127.0.0.1:1")} == {400}
    assert served.post("/mcp", content=b"x" * 70_000, headers={"content-type": "application/json"}).status_code == 413


def test_the_plain_endpoint_runs_the_same_tools(served: Served) -> None:
    assert served.post("/tools/word_count", json={"text": "a b"}).json() == {
        "tool": "word_count",
        "result": {"words": 2, "characters": 3},
    }
    assert served.post("/tools/invented", json={}).status_code == 404
    assert served.post("/tools/word_count", json={}).status_code == 400
    assert served.post("/tools/search", json={"text": "x"}).status_code == 502
    assert served.post("/tools/summarize", json={"text": "x", "model": "throttled"}).status_code == 502
    assert set(httpx.get(f"{served.url}/tools", trust_env=False).json()["tools"]) == TOOLS
    assert served.value("mcp_requests_total", method="tools/call", endpoint="/tools/{tool}", status="error") == 4
    assert served.value("mcp_tool_executions_total", tool="word_count", status="success") == 1


def test_the_orchestrator_s_own_client_speaks_the_protocol(served: Served) -> None:
    async def converse() -> Any:
        async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
            tools = Tools(http, "llm-orchestrator", "1")
            with pytest.raises(NoSuchTool):
                await tools.call("invented", {"text": "x"}, NOBODY)
            with pytest.raises(ToolError, match="postgres failed"):
                await tools.call("search", {"text": "x"}, NOBODY)
            return await tools.call("word_count", {"text": "x y"}, NOBODY)

    assert asyncio.run(converse()) == {"words": 2, "characters": 3}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(200, json={"result": {"content": [{"text": "no"}], "isError": True}}), ToolError),
        (httpx.Response(404, json={"error": {"code": -32601, "message": "Method not found"}}), ToolError),
        (httpx.Response(400, json={"error": {"code": -32602, "message": "Unknown tool: x"}}), NoSuchTool),
        (httpx.Response(421, text="Invalid Host header"), ToolError),
        (httpx.Response(200, json={"result": {}}), ToolError),
        (httpx.Response(200, json=[1]), ToolError),
        (httpx.Response(200, text="event: message\n\n", headers={"content-type": "text/event-stream"}), ToolError),
    ],
)
def test_the_orchestrator_s_client_tells_what_is_wrong(answer: httpx.Response, error: type[Exception]) -> None:
    async def converse() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer), base_url="http://x") as http:
            await Tools(http, "test", "1").call("x", {}, NOBODY)

    with pytest.raises(error):
        asyncio.run(converse())


def test_the_orchestrator_s_client_reads_a_result_that_came_as_a_stream() -> None:
    text = ': ping\r\n\r\nevent: message\r\ndata: {"result":{"structuredContent":{"result":7}}}\r\n\r\n'
    answer = httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})

    async def converse() -> Any:
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer), base_url="http://x") as http:
            return await Tools(http, "test", "1").call("x", {}, NOBODY)

    assert asyncio.run(converse()) == 7


def test_arguments_are_what_their_schema_says() -> None:
    kind = Text("A kind.", 9, ("a", "b"), "a")
    parameters: Parameters = {"text": Text("A text.", 5), "kind": kind, "n": Whole("N.", 1, 3, 2)}
    assert schema(parameters)["required"] == ["text"]
    assert schema(parameters)["properties"]["kind"]["enum"] == ["a", "b"]
    assert read(parameters, {"text": "x"}) == {"text": "x", "kind": "a", "n": 2}
    wrong: list[dict[str, Any]] = [
        {}, {"text": ""}, {"text": "123456"}, {"text": 1}, {"text": "x", "kind": "c"}, {"text": "x", "n": 4},
        {"text": "x", "n": True}, {"text": "x", "n": "1"}, {"text": "x", "n": None}, {"text": "x", "more": 1},
        {"text": "x\x00"}, {"text": "\ud800"},
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(BadArguments):
            read(parameters, arguments)


def test_the_sdk_s_client_and_framework_are_not_loaded_into_the_server() -> None:
    code = (
        "import sys, mcp_server.protocol\n"
        "assert not {'httpx2', 'mcp', 'mcp.client', 'mcp.server.mcpserver'} & set(sys.modules), sorted(sys.modules)\n"
        "import mcp; assert mcp.Client\n"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SERVICES)}, check=True)
