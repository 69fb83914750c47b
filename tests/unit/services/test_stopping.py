"""What is open when a process is told to end: streams that wait end at once, answers under way are finished."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mcp import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lookout.verify.polling import NotYet, poll_until
from simulators import llm
from simulators.app import build as build_simulators
from tests.ports import free_ports
from tests.unit.services.helpers import MakeTelemetry
from tests.unit.services.processes import Collector, Process, running
from tests.unit.services.servers import serving

CUT_SECONDS = 10
AT_ONCE_SECONDS = 3
"""Far from CUT_SECONDS, and enough for a busy machine."""
# The service as it is, but what is not answered is cut so late that nothing but a cut takes so long.
LATE_CUT = f"""
import sys
from telemetry import stopping

assert stopping.STREAM_SECONDS < stopping.SHUTDOWN_SECONDS < {CUT_SECONDS}
assert "telemetry.server" not in sys.modules
stopping.SHUTDOWN_SECONDS = {CUT_SECONDS}
"""
LLM_ORCHESTRATOR = f"""{LATE_CUT}
from llm_orchestrator.app import build
from telemetry import run

run(build)
"""
# With an audit log that needs no PostgreSQL.
MCP_SERVER = f"""{LATE_CUT}
from mcp_server.app import build
from telemetry import Telemetry, run
from tests.unit.services.helpers import AuditInMemory

Telemetry.audit = lambda *_: AuditInMemory()
run(build)
"""


class Automation:
    """The service that the tool ``review`` asks; it answers when it is let to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answer = threading.Event()
        self.app = Starlette(routes=[Route("/reviews", self._review, methods=["POST"])])

    async def _review(self, _request: Request) -> Response:
        self.asked.set()
        await asyncio.to_thread(self.answer.wait, 10)
        return JSONResponse({"score": 1})


@pytest.fixture
def automation() -> Automation:
    return Automation()


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def environ(make_telemetry: MakeTelemetry, tmp_path: Path, collector: Collector) -> Iterator[dict[str, str]]:
    """What a service needs that asks simulators, and sends its spans to the collector."""
    (tmp_path / "key").write_text("key-of-a-test")
    keys = {"PROVIDER_API_KEY_FILE": str(tmp_path / "key"), "AIRTABLE_TOKEN_FILE": str(tmp_path / "key")}
    with serving(build_simulators(make_telemetry(**keys))) as simulators, serving(collector.app) as endpoint:
        yield {
            **keys,
            "UPSTREAM_SIMULATORS": simulators,
            "UPSTREAM_MCP_SERVER": "http://127.0.0.1:1",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "DATABASE_URL": "postgresql://lookout@127.0.0.1:1/lookout",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        }


def assert_clean(process: Process, collector: Collector) -> None:
    """It ended without a line of level error, such as that of a cut, and the span of each request was sent."""
    lines = process.lines()
    assert [line for line in lines if line["level"] == "error"] == []
    requests = {line["span_id"] for line in lines if line["message"] == "request"}
    assert requests
    assert requests <= collector.span_ids


def test_streams_of_mcp_that_wait_end_at_once_and_a_tool_that_runs_is_answered(
    tmp_path: Path, environ: dict[str, str], collector: Collector, automation: Automation
) -> None:
    [port] = free_ports(1)

    async def listen(process: Process, ready: asyncio.Event) -> None:
        async with Client(f"{process.url}/mcp") as client, client.listen(resources_list_changed=True) as changes:
            ready.set()
            assert [change async for change in changes] == []

    async def call(process: Process, answer: asyncio.Future[object]) -> None:
        # A session, which holds a stream for what the server has to say by itself. Its end finds no server any more.
        with suppress(ExceptionGroup):
            async with Client(f"{process.url}/mcp", mode="legacy") as client:
                # Else it asks for the tools after the call.
                await client.list_tools()
                answer.set_result((await client.call_tool("review", {"text": "x"})).structured_content)

    async def converse(process: Process) -> float:
        ready, answer = asyncio.Event(), asyncio.get_running_loop().create_future()
        listening = asyncio.create_task(listen(process, ready))
        calling = asyncio.create_task(call(process, answer))
        await asyncio.wait_for(ready.wait(), 10)
        assert await asyncio.to_thread(automation.asked.wait, 10)
        await asyncio.to_thread(poll_until, lambda: connected(process), "both connections", 10, 0.05)
        process.terminate()
        # What waits ends by itself; what runs is still there when the SDK would have broken it off.
        _, calls = await asyncio.gather(
            asyncio.wait_for(listening, AT_ONCE_SECONDS), asyncio.wait({calling}, timeout=1)
        )
        assert calls == (set(), {calling})
        automation.answer.set()
        assert await asyncio.wait_for(answer, 10) == {"result": {"score": 1}}
        seconds = await asyncio.to_thread(process.ended)
        await calling
        return seconds

    with (
        serving(automation.app) as url,
        running(tmp_path, ["-c", MCP_SERVER], port, UPSTREAM_AUTOMATION_SERVICES=url, **environ) as process,
    ):
        seconds = asyncio.run(converse(process))
    assert seconds < AT_ONCE_SECONDS
    assert_clean(process, collector)
    assert {"mcp subscriptions/listen", "GET /mcp", "execute_tool review"} <= set(collector.names)


def connected(process: Process) -> None:
    """A listener and a session, whose stream was begun."""
    metrics = process.client.get("/metrics").text
    open_now = [line for line in metrics.splitlines() if line.startswith("mcp_active_connections{")]
    in_flight = [line for line in metrics.splitlines() if line.startswith("http_requests_in_flight{")]
    if [line.split()[-1] for line in open_now + in_flight] != ["2.0", "3.0"]:
        raise NotYet(f"{open_now} {in_flight}")


@pytest.mark.parametrize(("words", "last"), [(5, "done"), (40, "error")])
def test_a_stream_of_a_chat_is_finished_or_says_that_the_service_stops(
    tmp_path: Path,
    environ: dict[str, str],
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    words: int,
    last: str,
) -> None:
    # Less than a second, and six.
    monkeypatch.setattr(llm, "SECONDS_PER_TOKEN", 0.15)
    [port] = free_ports(1)
    asked = {"message": " ".join(["word"] * words), "model": "claude-sonnet", "stream": True}
    with running(tmp_path, ["-c", LLM_ORCHESTRATOR], port, **environ) as process:
        with process.client.stream("POST", "/chat", json=asked, timeout=10) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith('data: {"delta": ')
            process.terminate()
            rest = [line for line in lines if line]
        assert process.ended() < AT_ONCE_SECONDS
    assert rest[-2] == f"event: {last}"
    told = json.loads(rest[-1].removeprefix("data: "))
    assert len(told["answer"].split()) == words if last == "done" else told["error"]["code"] == "stopping"
    assert_clean(process, collector)
    assert "chat claude-sonnet" in collector.names
