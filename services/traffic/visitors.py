"""Who visits, and what each of them does: kinds of visitors with the steps of traffic.journey, drawn by a seed."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Visitor:
    """A kind of visitor.

    ``weight``: how often it comes, among the others. ``steps``: names of steps, each with how often it is chosen.
    ``length``: fewest and most steps of a visit. ``think``: seconds between steps, on average. ``browser``: whether
    it loads a page first and reports as the page does. ``network``: first part of its addresses, of those that
    RFC 5737 keeps for documentation.
    """

    name: str
    weight: float
    steps: dict[str, float]
    length: tuple[int, int]
    think: float
    browser: bool
    network: str = "203.0.113"


VISITORS = (
    Visitor(
        "reader",
        34,
        {"page_view": 4, "record_list": 4, "annoyed": 0.3, "gives_up": 0.7, "failing_page": 0.3},
        (2, 5),
        2.0,
        True,
    ),
    Visitor(
        "member",
        28,
        {
            "session": 5,
            "chat": 3,
            "order": 5,
            "order_declined": 0.4,
            "order_unshippable": 0.3,
            "refund": 0.6,
            "record_create": 2,
            "record_malformed": 0.3,
            "job": 3,
            "wrong_password": 0.4,
            "log_out": 0.5,
        },
        (3, 7),
        2.0,
        True,
    ),
    Visitor(
        "chatter",
        18,
        {"chat": 14, "tool": 3, "chat_unavailable": 0.15, "chat_throttled": 0.3, "chat_slow": 0.4, "malformed": 0.3},
        (3, 8),
        2.0,
        True,
    ),
    Visitor(
        "operator",
        10,
        {
            "job": 5,
            "job_broken": 0.5,
            "tool": 3,
            "record_list": 2,
            "record_import": 0.5,
            "record_create": 2,
            "upgrade": 2,
            "upgrade_broken": 0.3,
            "proof": 2,
            "proof_false": 0.3,
        },
        (3, 7),
        1.5,
        True,
    ),
    Visitor("github", 8, {"webhook": 10, "webhook_forged": 0.5}, (1, 3), 0.5, False, "192.0.2"),
    Visitor(
        "scanner",
        1.5,
        {"scan": 4, "enumerate": 2, "oversized": 2, "webhook_forged": 3, "guess_passwords": 1},
        (1, 3),
        0.3,
        False,
        "198.51.100",
    ),
)
REQUESTS = {
    "annoyed": 0,
    "gives_up": 0,
    "failing_page": 0,
    "log_out": 2,
    "job": 2,
    "refund": 2,
    "scan": 13,
    "enumerate": 18,
    "guess_passwords": 24,
    "record_import": 24,
    "malformed": 3,
}
"""Requests of the steps that make more or fewer than one."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit: who, from which address, and its steps in order. ``chance`` decides what is left open in them."""

    visitor: Visitor
    address: str
    steps: tuple[str, ...]
    chance: random.Random

    @property
    def requests(self) -> int:
        """How many requests it makes, about: a browser's page and report are two more."""
        return sum(REQUESTS.get(step, 1) for step in self.steps) + (2 if self.visitor.browser else 0)


def plan(seed: int, number: int) -> Visit:
    """Visit ``number``, counted from 0: always the same one for a seed.

    The first visits are a round in which each kind of visitor takes each of its steps once, so that nothing rare has
    to be waited for after a start. From then on all is left to chance.
    """
    chance = random.Random(f"{seed}/{number}")
    if number < len(VISITORS):
        visitor = VISITORS[number]
        steps = list(visitor.steps)
    else:
        visitor = chance.choices(VISITORS, [kind.weight for kind in VISITORS])[0]
        count = chance.randint(*visitor.length)
        steps = chance.choices(list(visitor.steps), list(visitor.steps.values()), k=count)
    address = f"{visitor.network}.{chance.randint(1, 254)}"
    return Visit(visitor, address, tuple(steps), chance)
