"""What is visited, and who has an account there."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

ACCOUNTS = 4


@dataclass(slots=True)
class Account:
    """A user of this traffic only. Visits share its session, for a login costs a core 0.2 s."""

    email: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)
    login: asyncio.Lock = field(default_factory=asyncio.Lock)


def accounts(seed: int) -> tuple[Account, ...]:
    """The users of a seed: the same after a restart."""

    def password(number: int) -> str:
        return hashlib.sha256(f"lookout traffic {seed} {number}".encode()).hexdigest()[:24]

    return tuple(Account(f"traffic-{seed}-{number}@lookout.invalid", password(number)) for number in range(ACCOUNTS))


@dataclass(frozen=True, slots=True)
class Site:
    """What is visited: the page's server, the gateway (for who does not come with a browser), and who has accounts."""

    frontend: httpx.AsyncClient
    gateway: httpx.AsyncClient
    webhook_secret: str = field(repr=False)
    accounts: tuple[Account, ...]
    count: Callable[[str, str], None]
