"""The tools. Each takes the arguments of the call and returns what is JSON."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.exceptions import HTTPException

from mcp_server.storage import Storage
from telemetry import web

Arguments = dict[str, Any]
Tool = Callable[[Arguments], Awaitable[Any]]
_WORD = re.compile(r"\w+")
MAX_TEXT = 16_000


async def word_count(arguments: Arguments) -> Any:
    """Words and characters of ``text``."""
    content = web.text(arguments, "text", MAX_TEXT)
    return {"words": len(_WORD.findall(content)), "characters": len(content)}


def tools(storage: Storage, automation: httpx.AsyncClient) -> dict[str, Tool]:
    """All tools by name; the label ``tool`` takes no other values."""

    async def remember(arguments: Arguments) -> Any:
        """Keep ``text`` for later searches."""
        return {"id": await storage.store(web.text(arguments, "text", MAX_TEXT))}

    async def search(arguments: Arguments) -> Any:
        """Kept texts that contain ``text``, newest first."""
        return await storage.search(web.text(arguments, "text", 200))

    async def review(arguments: Arguments) -> Any:
        """The review pipeline of automation-services."""
        answer = await automation.post("/reviews", json={"text": web.text(arguments, "text", MAX_TEXT)})
        if answer.is_error:
            raise HTTPException(502, f"automation-services answered {answer.status_code}")
        return answer.json()

    return {"word_count": word_count, "remember": remember, "search": search, "review": review}
