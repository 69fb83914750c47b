"""Calls tools over the Model Context Protocol, revision 2026-07-28: one POST for a call, no session.

By hand, since the SDK's client has an HTTP stack of its own (without the spans, ids and circuit breaker of ours)
and would double the memory of this process. Source: modelcontextprotocol.io/specification, transports.
"""

import itertools
import json
import re
from typing import Any

import httpx

REVISION = "2026-07-28"
_META = "io.modelcontextprotocol"
INVALID_PARAMS = -32602
# modelcontextprotocol.io/specification, tools; the name is a header too, which takes no line break and ASCII only.
_NAME = re.compile("[A-Za-z0-9_.-]{1,128}")


class NoSuchTool(Exception):
    """The server knows no tool of that name."""


class ToolError(Exception):
    """The tool, or the server, answered with an error."""


class Tools:
    """Tools of the server behind ``http``."""

    def __init__(self, http: httpx.AsyncClient, name: str, version: str) -> None:
        self._http = http
        self._numbers = itertools.count(1)
        self._meta = {
            f"{_META}/protocolVersion": REVISION,
            f"{_META}/clientInfo": {"name": name, "version": version},
            f"{_META}/clientCapabilities": {},
        }

    async def call(self, tool: str, arguments: dict[str, Any], caller: httpx.Headers) -> Any:
        """The result of a tool; ``caller`` says whose call it is. Raises NoSuchTool, ToolError or DependencyError."""
        if not _NAME.fullmatch(tool):
            raise NoSuchTool(tool)
        params = {"name": tool, "arguments": arguments, "_meta": self._meta}
        headers = caller.copy()
        headers.update(
            {
                "accept": "application/json, text/event-stream",
                "mcp-protocol-version": REVISION,
                "mcp-method": "tools/call",
                "mcp-name": tool,
            }
        )
        message = {"jsonrpc": "2.0", "id": next(self._numbers), "method": "tools/call", "params": params}
        answer = await self._http.post("/mcp", json=message, headers=headers)
        try:
            return _result(_message(answer))
        except (KeyError, TypeError, ValueError) as error:
            raise ToolError(f"mcp-server answered {answer.status_code} without a result") from error


def _message(answer: httpx.Response) -> dict[str, Any]:
    """The JSON-RPC response: the body, or the last event where the tool took so long that a stream was begun."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return dict(answer.json())
    data = [line.removeprefix("data:") for line in answer.text.splitlines() if line.startswith("data:")]
    return dict(json.loads(data[-1])) if data else {}


def _result(message: dict[str, Any]) -> Any:
    if (error := message.get("error")) is not None:
        # Of a call that is well formed, the name is all that can be wrong: arguments are the tool's to refuse.
        if error["code"] == INVALID_PARAMS:
            raise NoSuchTool(error["message"])
        raise ToolError(error["message"])
    result = message["result"]
    if result.get("isError"):
        raise ToolError("".join(part.get("text", "") for part in result["content"]))
    return result["structuredContent"]["result"]
