"""A provider behind its API: checks the key, keeps the limits, takes its time, answers, streams and fails."""

import asyncio
import hmac
import json
import random
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from simulators import faults
from simulators.budget import Budget
from simulators.shapes import Answer, Shape
from telemetry import web

FIRST_TOKEN_SECONDS = (0.02, 0.1)
SECONDS_PER_TOKEN = 0.002
MAX_ANSWER_WORDS = 40
WORDS_IN_A_CHUNK = 4
RETRY_AFTER_SECONDS = 1.0
_TOKEN = re.compile(r"\w+|[^\w\s]")


def count_tokens(text: str) -> int:
    """Words and punctuation marks: near enough to a tokenizer for a bill that is not paid."""
    return len(_TOKEN.findall(text))


class Vendor:
    """Answers with the words of the question in reverse: an answer that a test can foretell.

    With a ``seed`` the same question takes the same time whenever it is asked.
    """

    def __init__(self, shape: Shape, key: str, budget: Budget, seed: str | None) -> None:
        self._shape = shape
        self._key = key
        self._budget = budget
        self._seed = seed

    async def complete(self, request: Request) -> Response:
        """One answer, at once or as a stream."""
        if not hmac.compare_digest(self._shape.key(request.headers).encode(), self._key.encode()):
            return self._refuse("unauthorized", "the key is missing or wrong")
        try:
            body = await web.read_json(request)
            model, prompt = web.text(body, "model", 100), _prompt(body)
            limit = _max_tokens(body)
        except HTTPException as error:
            return self._refuse("invalid", str(error.detail))
        if missing := self._shape.missing(body, request.headers):
            return self._refuse("invalid", missing)
        answer = self._answer(model, prompt, limit)
        fault = faults.MODELS.get(model, faults.NONE)
        wait = RETRY_AFTER_SECONDS if fault.refusal == "throttled" else self._spend(answer)
        if wait > 0:
            return self._refuse("throttled", "rate limit exceeded", {"retry-after": f"{wait:.0f}"})
        first = fault.delay_seconds + self._chance(model, prompt).uniform(*FIRST_TOKEN_SECONDS)
        await asyncio.sleep(first)
        if fault.refusal is not None:
            return self._refuse(fault.refusal, "the model is not available")
        headers = self._shape.limits(self._budget)
        if body.get("stream"):
            return StreamingResponse(self._events(answer, fault.cut), 200, headers, "text/event-stream")
        await asyncio.sleep(SECONDS_PER_TOKEN * answer.output_tokens)
        content = json.dumps(self._shape.whole(answer))
        return Response(content[: len(content) // 2] if fault.cut else content, 200, headers, "application/json")

    async def _events(self, answer: Answer, cut: bool) -> AsyncIterator[str]:
        events = list(self._shape.events(answer))
        pause = SECONDS_PER_TOKEN * answer.output_tokens / max(len(answer.chunks), 1)
        for event in events[: len(events) // 2] if cut else events:
            yield event
            await asyncio.sleep(pause)

    def _answer(self, model: str, prompt: str, max_tokens: int) -> Answer:
        words = prompt.split()[::-1][: min(MAX_ANSWER_WORDS, max_tokens)]
        pieces = [" ".join(words[at : at + WORDS_IN_A_CHUNK]) for at in range(0, len(words), WORDS_IN_A_CHUNK)]
        chunks = tuple(piece if index == 0 else f" {piece}" for index, piece in enumerate(pieces))
        return Answer(uuid.uuid4().hex, model, chunks, count_tokens(prompt), count_tokens(" ".join(words)))

    def _spend(self, answer: Answer) -> float:
        """Seconds to wait; 0 where the limits allow the answer. Whole seconds, as Retry-After has them."""
        wait = self._budget.spend(answer.input_tokens + answer.output_tokens)
        return float(int(wait) + 1) if wait > 0 else 0.0

    def _refuse(self, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
        found = {**self._shape.limits(self._budget), **(headers or {})}
        return JSONResponse(self._shape.refusal(kind, message), self._shape.refusals[kind], found)

    def _chance(self, model: str, prompt: str) -> random.Random:
        return random.Random(None if self._seed is None else f"{self._seed}\0{model}\0{prompt}")


def _prompt(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise HTTPException(400, "messages must be a list that is not empty")
    return "\n".join(_content(message) for message in messages)


def _content(message: Any) -> str:
    if not isinstance(message, dict):
        raise HTTPException(400, "a message must be an object")
    return web.text(message, "content", 20_000)


def _max_tokens(body: dict[str, Any]) -> int:
    limit = body.get("max_tokens", MAX_ANSWER_WORDS)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise HTTPException(400, "max_tokens must be a whole number of at least 1")
    return limit
