"""The chat-completions API that Mistral, Kimi and GLM took over from OpenAI, with their differences.

Sources: docs.mistral.ai/api, platform.moonshot.ai/docs, docs.z.ai/api-reference.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_providers.completion import Completion, Delta, Limit, StreamError, Usage, limits_of

MAX_TOKENS = 1024
END = "[DONE]"


@dataclass(frozen=True, slots=True)
class ChatCompletions:
    """``limit_headers``: kind of limit → header that tells what is left of it."""

    path: str
    limit_headers: Mapping[str, str] = field(default_factory=dict)

    def headers(self, key: str) -> dict[str, str]:
        """The key is a bearer token."""
        return {"authorization": f"Bearer {key}"}

    def body(self, model: str, message: str, stream: bool) -> dict[str, Any]:
        """One message of the user."""
        messages = [{"role": "user", "content": message}]
        return {"model": model, "messages": messages, "max_tokens": MAX_TOKENS, "stream": stream}

    def completion(self, answer: Mapping[str, Any]) -> Completion:
        """The first choice, and ``usage``."""
        return Completion(str(answer["choices"][0]["message"]["content"]), _usage(answer["usage"]))

    def delta(self, data: str) -> Delta:
        """Usage comes with the last chunk: beside the choices from Mistral and GLM, inside of one from Kimi."""
        if data == END:
            return Delta(last=True)
        chunk = json.loads(data)
        if "error" in chunk:
            raise StreamError(str(chunk["error"]))
        choice = chunk["choices"][0] if chunk["choices"] else {}
        usage = chunk.get("usage") or choice.get("usage")
        counted = _usage(usage) if usage else None
        text = choice.get("delta", {}).get("content") or ""
        return Delta(text, counted.input, counted.output) if counted else Delta(text)

    def limits(self, headers: Mapping[str, str]) -> list[Limit]:
        """As ``limit_headers`` names them."""
        return limits_of(headers, self.limit_headers)


def _usage(usage: Mapping[str, Any]) -> Usage:
    return Usage(int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
