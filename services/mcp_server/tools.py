"""The tools: what a client is told of each, and what each does."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from llm_providers import DEFAULT, MODELS, ProviderError, Providers
from mcp_server.arguments import Parameters, Text, Whole
from mcp_server.storage import MAX_FOUND, Storage

_WORD = re.compile(r"\w+")
MAX_TEXT = 16_000
MAX_ID = 2**63 - 1
_TEXT: Parameters = {"text": Text("The text.", MAX_TEXT)}
_ID: Parameters = {"id": Whole("Id of a note, as remember and search tell it.", 1, MAX_ID)}


class ToolFailed(Exception):
    """The tool could not do it; the message is for whoever called it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """``run`` is called with the arguments by name, checked, and returns what is JSON."""

    description: str
    parameters: Parameters
    run: Callable[..., Awaitable[Any]]
    read_only: bool = True


async def word_count(text: str) -> Any:
    """Words and characters."""
    return {"words": len(_WORD.findall(text)), "characters": len(text)}


def tools(storage: Storage, automation: httpx.AsyncClient, providers: Providers) -> Mapping[str, Tool]:
    """All tools by name; the label ``tool`` takes no other values."""

    async def remember(text: str) -> Any:
        return {"id": await storage.store(text)}

    async def search(text: str) -> Any:
        return await storage.search(text)

    async def notes(limit: int) -> Any:
        return await storage.newest(limit)

    async def fetch(id: int) -> Any:
        note = await storage.read(id)
        if note is None:
            raise ToolFailed(f"there is no note {id}")
        return note

    async def forget(id: int) -> Any:
        return {"forgotten": await storage.delete(id)}

    async def review(text: str) -> Any:
        answer = await automation.post("/reviews", json={"text": text})
        if answer.is_error:
            raise ToolFailed(f"automation-services answered {answer.status_code}")
        return answer.json()

    async def summarize(text: str, model: str) -> Any:
        try:
            completion = await providers.complete(model, f"Summarize in one sentence: {text}")
        except ProviderError as error:
            raise ToolFailed(str(error)) from error
        tokens = {"input": completion.usage.input, "output": completion.usage.output}
        return {"summary": completion.text, "model": model, "tokens": tokens}

    part = {"text": Text("What the notes must contain.", 200)}
    limit = {"limit": Whole("How many.", 1, MAX_FOUND, MAX_FOUND)}
    model = {"model": Text("Which model summarizes.", 100, tuple(MODELS), DEFAULT)}
    return {
        "word_count": Tool("Count the words and characters of a text.", _TEXT, word_count),
        "remember": Tool("Keep a text as a note, and tell its id.", _TEXT, remember, read_only=False),
        "search": Tool("Find the newest notes that contain a text.", part, search),
        "notes": Tool("List the newest notes.", limit, notes),
        "fetch": Tool("Read a whole note.", _ID, fetch),
        "forget": Tool("Delete a note.", _ID, forget, read_only=False),
        "review": Tool("Run the review pipeline on a text.", _TEXT, review),
        "summarize": Tool("Let a language model summarize a text.", {**_TEXT, **model}, summarize),
    }
