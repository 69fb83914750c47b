"""The Messages API of Claude (docs.anthropic.com/en/api: messages, messages-streaming, errors, rate-limits)."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from simulators.budget import Budget
from simulators.shapes import Answer, event


class Messages:
    """529 where it is overloaded; a stream of named events."""

    refusals: Mapping[str, int] = {
        "unauthorized": 401,
        "invalid": 400,
        "throttled": 429,
        "failed": 500,
        "overloaded": 529,
    }
    _TYPES: Mapping[str, str] = {
        "unauthorized": "authentication_error",
        "invalid": "invalid_request_error",
        "throttled": "rate_limit_error",
        "failed": "api_error",
        "overloaded": "overloaded_error",
    }

    def key(self, headers: Mapping[str, str]) -> str:
        """A header of its own."""
        return headers.get("x-api-key", "")

    def missing(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
        """The version in a header, and a bound for the answer."""
        if not headers.get("anthropic-version"):
            return "anthropic-version: header is required"
        return None if isinstance(body.get("max_tokens"), int) else "max_tokens: Field required"

    def refusal(self, kind: str, message: str) -> dict[str, Any]:
        """With the id of the request."""
        error = {"type": self._TYPES[kind], "message": message}
        return {"type": "error", "error": error, "request_id": f"req_{uuid.uuid4().hex[:24]}"}

    def whole(self, answer: Answer) -> dict[str, Any]:
        """One block of text."""
        usage = {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens}
        content = [{"type": "text", "text": answer.text}]
        return {**self._head(answer), "content": content, "stop_reason": "end_turn", "usage": usage}

    def events(self, answer: Answer) -> Iterator[str]:
        """Input is counted at the start, output at the end."""
        usage = {"input_tokens": answer.input_tokens, "output_tokens": 1}
        message = {**self._head(answer), "content": [], "stop_reason": None, "usage": usage}
        yield event({"type": "message_start", "message": message}, "message_start")
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        yield event(block, "content_block_start")
        yield event({"type": "ping"}, "ping")
        for chunk in answer.chunks:
            delta = {"type": "text_delta", "text": chunk}
            yield event({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")
        yield event({"type": "content_block_stop", "index": 0}, "content_block_stop")
        ended = {"stop_reason": "end_turn", "stop_sequence": None}
        usage = {"output_tokens": answer.output_tokens}
        yield event({"type": "message_delta", "delta": ended, "usage": usage}, "message_delta")
        yield event({"type": "message_stop"}, "message_stop")

    def limits(self, budget: Budget) -> dict[str, str]:
        """Limit, rest and time of the reset of both."""
        reset = (datetime.now(UTC) + timedelta(seconds=budget.seconds_to_reset())).strftime("%Y-%m-%dT%H:%M:%SZ")
        prefix = "anthropic-ratelimit"
        return {
            f"{prefix}-requests-limit": str(budget.requests),
            f"{prefix}-requests-remaining": str(max(budget.requests_left, 0)),
            f"{prefix}-requests-reset": reset,
            f"{prefix}-tokens-limit": str(budget.tokens),
            f"{prefix}-tokens-remaining": str(max(budget.tokens_left, 0)),
            f"{prefix}-tokens-reset": reset,
        }

    @staticmethod
    def _head(answer: Answer) -> dict[str, Any]:
        return {"id": answer.id, "type": "message", "role": "assistant", "model": answer.model}
