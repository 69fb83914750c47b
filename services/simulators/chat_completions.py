"""The chat-completions APIs of Mistral, Kimi (Moonshot) and GLM (Zhipu): one shape, told apart in the details.

Sources: docs.mistral.ai/api and the headers its answers carry, platform.moonshot.ai/docs/api/chat and
kimi.com/help/kimi-api, docs.z.ai/api-reference.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from simulators.budget import Budget
from simulators.shapes import Answer, bearer, event


class ChatCompletions:
    """What the three have in common."""

    refusals: Mapping[str, int] = {
        "unauthorized": 401,
        "invalid": 400,
        "throttled": 429,
        "failed": 500,
        "overloaded": 503,
    }

    def key(self, headers: Mapping[str, str]) -> str:
        """A bearer token."""
        return bearer(headers)

    def missing(self, _body: Mapping[str, Any], _headers: Mapping[str, str]) -> str | None:
        """Nothing more is required."""
        return None

    def refusal(self, kind: str, message: str) -> dict[str, Any]:
        """As OpenAI has it."""
        return {"error": {"type": kind, "message": message}}

    def whole(self, answer: Answer) -> dict[str, Any]:
        """One choice, and the usage."""
        message = {"role": "assistant", "content": answer.text}
        return {
            **self._head(answer, "chat.completion"),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": self._usage(answer),
        }

    def events(self, answer: Answer) -> Iterator[str]:
        """A chunk each, then one with the usage, then the end."""
        head = self._head(answer, "chat.completion.chunk")
        for chunk in answer.chunks:
            yield event({**head, "choices": [{"index": 0, "delta": {"content": chunk}, "finish_reason": None}]})
        yield event({**head, **self._last(answer)})
        yield event("[DONE]")

    def limits(self, _budget: Budget) -> dict[str, str]:
        """GLM tells nothing."""
        return {}

    def _last(self, answer: Answer) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": self._usage(answer)}

    @staticmethod
    def _head(answer: Answer, kind: str) -> dict[str, Any]:
        return {"id": answer.id, "object": kind, "created": int(time.time()), "model": answer.model}

    @staticmethod
    def _usage(answer: Answer) -> dict[str, int]:
        sent, received = answer.input_tokens, answer.output_tokens
        return {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received}


class Mistral(ChatCompletions):
    """Errors without an ``error``; headers for requests and tokens of the minute."""

    _CODES: Mapping[str, tuple[str, str]] = {
        "invalid": ("invalid_request_error", "1000"),
        "throttled": ("rate_limited", "1300"),
        "failed": ("internal_server_error", "3500"),
        "overloaded": ("service_tier_capacity_exceeded", "3505"),
    }

    def refusal(self, kind: str, message: str) -> dict[str, Any]:
        """A missing key is told by the proxy in front of the API, in a shape of its own."""
        if kind == "unauthorized":
            return {"detail": message}
        name, code = self._CODES[kind]
        return {"object": "error", "message": message, "type": name, "param": None, "code": code}

    def limits(self, budget: Budget) -> dict[str, str]:
        """Limit and rest of both."""
        return {
            "x-ratelimit-limit-req-minute": str(budget.requests),
            "x-ratelimit-remaining-req-minute": str(max(budget.requests_left, 0)),
            "x-ratelimit-limit-tokens-minute": str(budget.tokens),
            "x-ratelimit-remaining-tokens-minute": str(max(budget.tokens_left, 0)),
        }


class Kimi(ChatCompletions):
    """Usage of a stream inside of the last choice; headers for requests only."""

    _TYPES: Mapping[str, str] = {
        "unauthorized": "invalid_authentication_error",
        "invalid": "invalid_request_error",
        "throttled": "rate_limit_reached_error",
        "failed": "server_error",
        "overloaded": "engine_overloaded_error",
    }
    refusals: Mapping[str, int] = {**ChatCompletions.refusals, "overloaded": 429}

    def refusal(self, kind: str, message: str) -> dict[str, Any]:
        """As OpenAI has it, with names of their own."""
        return {"error": {"type": self._TYPES[kind], "message": message}}

    def limits(self, budget: Budget) -> dict[str, str]:
        """Of requests; the reset in seconds."""
        return {
            "x-ratelimit-limit": str(budget.requests),
            "x-ratelimit-remaining": str(max(budget.requests_left, 0)),
            "x-ratelimit-reset": f"{budget.seconds_to_reset():.0f}",
        }

    def _last(self, answer: Answer) -> dict[str, Any]:
        choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": self._usage(answer)}
        return {"choices": [choice]}


class Glm(ChatCompletions):
    """Errors by number."""

    _CODES: Mapping[str, str] = {
        "unauthorized": "1000",
        "invalid": "1210",
        "throttled": "1302",
        "failed": "500",
        "overloaded": "1305",
    }
    refusals: Mapping[str, int] = {**ChatCompletions.refusals, "overloaded": 429}

    def refusal(self, kind: str, message: str) -> dict[str, Any]:
        """A code in text."""
        return {"error": {"code": self._CODES[kind], "message": message}}
