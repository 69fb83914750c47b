"""Runs tools: the one place where it happens, whoever asks and over whatever protocol."""

import time
from collections.abc import Mapping
from typing import Any

from mcp_server.arguments import Arguments, BadArguments, read
from mcp_server.tools import Tool
from telemetry import Telemetry, faults, get_logger, tracing
from telemetry.audit import Audit

TOOL_FAILURE = faults.hook("tool_failure")
STATUSES = ("success", "error", "invalid")
log = get_logger("mcp_server")


class UnknownTool(Exception):
    """There is no tool of that name."""


class Runner:
    """Counts mcp_tool_executions_total{tool, status}; ``invalid`` is a call whose arguments are wrong.

    Each call of a tool is recorded in the audit log, also one whose arguments are wrong, and without what they hold;
    none takes place while that is away.
    """

    def __init__(self, telemetry: Telemetry, tools: Mapping[str, Tool], audit: Audit) -> None:
        self.tools = tools
        self._audit = audit
        self._tracer = telemetry.tracing.tracer
        metrics = telemetry.metrics
        self._executions = metrics.counter("mcp_tool_executions_total", "Tools run.", ["tool", "status"])
        self._seconds = metrics.histogram("mcp_tool_duration_seconds", "Duration of tools.", ["tool"])
        for tool in tools:
            self._seconds.labels(tool)
            for status in STATUSES:
                self._executions.labels(tool, status)

    async def run(self, name: str, arguments: Arguments, who: str) -> Any:
        """The result of a tool that ``who`` asked for.

        Raises UnknownTool, BadArguments, ToolFailed or DependencyError.
        """
        tool = self.tools.get(name)
        if tool is None:
            raise UnknownTool(name[:100])
        start = time.perf_counter()
        status = "error"
        with self._tracer.start_as_current_span(
            f"execute_tool {name}",
            attributes={"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                async with self._audit.around("tool_call", who=who, on=f"tool:{name}"):
                    given = read(tool.parameters, arguments)
                    TOOL_FAILURE.fail()
                    result = await tool.run(**given)
                status = "success"
                return result
            except BadArguments:
                status = "invalid"
                raise
            except Exception as error:
                tracing.fail(span, type(error).__name__)
                log.error("tool failed", tool=name, error=str(error))
                raise
            finally:
                self._executions.labels(name, status).inc()
                self._seconds.labels(name).observe(time.perf_counter() - start)
