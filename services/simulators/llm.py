"""A chat-completions endpoint; model "unavailable" answers 500, "throttled" 429, "slow" after 2.5 s."""

import asyncio
import random
import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from telemetry import web

LATENCY_SECONDS = (0.02, 0.2)
SLOW_SECONDS = 2.5
MAX_ANSWER_WORDS = 40
_TOKEN = re.compile(r"\w+|[^\w\s]")


def count_tokens(text: str) -> int:
    """Words and punctuation marks: near enough to a tokenizer for a bill that is not paid."""
    return len(_TOKEN.findall(text))


class Llm:
    """Answers with the words of the question in reverse: an answer that a test can foretell."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def complete(self, request: Request) -> Response:
        """One completion with its usage in tokens."""
        body = await web.read_json(request)
        model = web.text(body, "model", 100)
        prompt = "\n".join(_content(message) for message in _messages(body))
        if model == "throttled":
            return web.failure(429, "rate_limited", "too many requests", {"retry-after": "1"})
        await asyncio.sleep(SLOW_SECONDS if model == "slow" else self._chance.uniform(*LATENCY_SECONDS))
        if model == "unavailable":
            return web.failure(500, "model_unavailable", "the model is not available")
        answer = " ".join(prompt.split()[: -MAX_ANSWER_WORDS - 1 : -1])
        usage = {"prompt_tokens": count_tokens(prompt), "completion_tokens": count_tokens(answer)}
        choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        return JSONResponse({"object": "chat.completion", "model": model, "choices": [choice], "usage": usage})


def _messages(body: dict[str, Any]) -> list[Any]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise HTTPException(400, "messages must be a list that is not empty")
    return messages


def _content(message: Any) -> str:
    if not isinstance(message, dict):
        raise HTTPException(400, "a message must be an object")
    return web.text(message, "content", 20_000)
