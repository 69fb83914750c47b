"""The Messages API of Claude (docs.anthropic.com/en/api/messages and …/messages-streaming)."""

import json
from collections.abc import Mapping
from typing import Any

from llm_providers.completion import Completion, Delta, Limit, StreamError, Usage, limits_of

VERSION = "2023-06-01"
MAX_TOKENS = 1024
LIMIT_HEADERS = {
    "requests": "anthropic-ratelimit-requests-remaining",
    "tokens": "anthropic-ratelimit-tokens-remaining",
}


class Messages:
    """Its key has a header of its own, its stream names each event, and input and output are counted apart."""

    path = "/v1/messages"

    def headers(self, key: str) -> dict[str, str]:
        """Key and version of the API."""
        return {"x-api-key": key, "anthropic-version": VERSION}

    def body(self, model: str, message: str, stream: bool) -> dict[str, Any]:
        """One message of the user; ``max_tokens`` is required here."""
        messages = [{"role": "user", "content": message}]
        return {"model": model, "max_tokens": MAX_TOKENS, "messages": messages, "stream": stream}

    def completion(self, answer: Mapping[str, Any]) -> Completion:
        """The text of all content blocks of that type."""
        text = "".join(block["text"] for block in answer["content"] if block["type"] == "text")
        usage = answer["usage"]
        return Completion(text, Usage(int(usage["input_tokens"]), int(usage["output_tokens"])))

    def delta(self, data: str) -> Delta:
        """``message_start`` counts the input, each ``message_delta`` all of the output so far."""
        event = json.loads(data)
        match event["type"]:
            case "message_start":
                return Delta(input=int(event["message"]["usage"]["input_tokens"]))
            case "content_block_delta":
                return Delta(event["delta"].get("text", ""))
            case "message_delta":
                return Delta(output=int(event["usage"]["output_tokens"]))
            case "message_stop":
                return Delta(last=True)
            case "error":
                raise StreamError(str(event["error"]["type"]))
        # ping, content_block_start and _stop; "event types may be added", says the page on versions.
        return Delta()

    def limits(self, headers: Mapping[str, str]) -> list[Limit]:
        """Of requests and of tokens, input and output together."""
        return limits_of(headers, LIMIT_HEADERS)
