"""The Butler bot: tells a chat channel what was done since it was last told."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import httpx

from automation_services.work import WorkBroke, WorkFailed
from telemetry import DependencyError, Telemetry, get_logger

CHANNELS = ("team", "releases", "oncall", "archived", "unavailable")
"""Channels that a digest can be sent to. The chat refuses "archived", and is broken for "unavailable"."""
HOME = "team"
log = get_logger("automation_services.digests")
Submit = Callable[[str, str, str, str], Awaitable[Any]]


class Memory(Protocol):
    """What the bot must remember over a restart."""

    async def done(self) -> dict[str, int]:
        """How many jobs ended since the beginning, by "kind state"."""

    async def told(self, channel: str) -> dict[str, int]:
        """What ``done`` was when the channel was last told."""

    async def tell(self, channel: str, done: dict[str, int]) -> None:
        """Remember what a channel was told."""


class Digests:
    """Writes digests and delivers them."""

    def __init__(self, telemetry: Telemetry, memory: Memory, chat: httpx.AsyncClient) -> None:
        self._memory = memory
        self._chat = chat
        self._delivered = telemetry.metrics.counter(
            "digests_delivered_total", "Digests that a channel has taken.", ["channel"]
        )
        for channel in CHANNELS:
            self._delivered.labels(channel)

    async def deliver(self, job: str, channel: str) -> dict[str, Any]:
        """Deliver one; the chat takes a job's message once. Raises WorkFailed where it refuses the channel."""
        done, told = await self._memory.done(), await self._memory.told(channel)
        text = digest({name: count - told.get(name, 0) for name, count in done.items()})
        answer = await self._chat.post(f"/v0/chat/{channel}", json={"id": job, "text": text})
        if answer.status_code >= 500:
            raise WorkBroke(f"the chat answered {answer.status_code}")
        if answer.is_error:
            raise WorkFailed(f"the chat refuses {channel}: {answer.status_code}")
        await self._memory.tell(channel, done)
        self._delivered.labels(channel).inc()
        return {"channel": channel, "text": text}


def digest(counts: dict[str, int]) -> str:
    """One line for each kind of job."""
    kinds: dict[str, dict[str, int]] = {}
    for name, count in sorted(counts.items()):
        kind, _, state = name.partition(" ")
        if count > 0:
            kinds.setdefault(kind, {})[state] = count
    lines = [f"{kind}: " + ", ".join(f"{n} {state}" for state, n in states.items()) for kind, states in kinds.items()]
    return "\n".join(lines) or "Nothing was done."


async def every(seconds: float, submit: Submit) -> None:
    """Queue a digest for HOME in each period; its id is that of the period, so several replicas queue one."""
    while True:
        await asyncio.sleep(seconds - time.time() % seconds)
        period = int(time.time() // seconds)
        try:
            await submit("digest", HOME, "", f"digest-{HOME}-{int(seconds)}-{period}")
        except DependencyError as error:
            log.warning("digest is left out", error=str(error))
