"""One journey: a page, then calls to every service in an order left to chance, then the browser's report."""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from telemetry import DependencyError, get_logger, ids
from traffic.pace import Pace

QUESTIONS = (
    "What is an error budget?",
    "How does tail sampling decide?",
    "Which alert fires when a disk fills up?",
    "Why do histograms need the right bounds?",
)
MODELS = ("mistral-small", "mistral-large", "kimi-k2", "glm-4", "claude-sonnet")
FILES = (
    ("report.csv", "name,count\nalpha,1\nbeta,2\n"),
    ("data.json", '[{"a": 1}, {"a": 2}]'),
    ("notes.md", "# Notes\n\nOne line.\n"),
)
WORKFLOWS = (
    ("summary", "Metrics tell that something is wrong. Traces tell where it is wrong. Logs tell why."),
    ("post_fetch", "<article><h1>Burn rates</h1></article><article><h1>Exemplars</h1></article>"),
    ("pdf_generation", "Weekly report\nAll is well."),
)
MANIFESTS = (
    ("requirements.txt", "flask==2.3.3\nrequests>=2.28.2\n"),
    ("package.json", '{\n  "dependencies": {\n    "react": "^18.2.0",\n    "axios": "1.6.8"\n  }\n}\n'),
    ("go.mod", "module example.test/page\n\nrequire github.com/google/uuid v1.3.0\n"),
)
FORMULAS = (
    "p | !p",
    "(p -> q) & (q -> r) & (r -> s) & (s -> t) -> (p -> t)",
    "(" + " & ".join(f"(p{n} -> p{n + 1})" for n in range(14)) + ") -> (p0 -> p14)",
)
log = get_logger("traffic")
Count = Callable[[str, str], None]


@dataclass(slots=True)
class Account:
    """The pretended user of all journeys: one login serves them all, for a password costs a core 0.2 s."""

    email: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)
    journeys: int = 0
    login: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Journey:
    """One pretended browser."""

    frontend: httpx.AsyncClient
    pace: Pace
    chance: random.Random
    account: Account
    count: Count
    order: str = ""

    async def run(self) -> None:
        """One journey under one correlation id."""
        journey = uuid.uuid4().hex
        ids.bind(ids.Ids(journey, journey))
        self.account.journeys += 1
        calls: list[Callable[[], Awaitable[None]]] = [
            self._chat,
            self._records,
            self._job,
            self._order,
            self._tool,
            self._session,
            self._upgrade,
            self._proof,
            self._refund,
        ]
        self.chance.shuffle(calls)
        await self._ask("page", "GET", self.chance.choice(["/", "/chat", "/records", "/orders"]), {200})
        for call in calls:
            await call()
        await self._report()

    async def _session(self) -> None:
        async with self.account.login:
            # A login in every tenth journey, the token of the last one in between.
            if not self.account.token or self.account.journeys % 10 == 0:
                await self._log_in()
                return
        answer = await self._ask("session", "GET", "/api/session", {200, 401})
        if answer is not None and answer.status_code == 401:
            self.account.token = ""

    async def _log_in(self) -> None:
        right = self.account.password
        password = right + "x" if self._happens(0.05) else right
        login = {"email": self.account.email, "password": password}
        answer = await self._ask("login", "POST", "/api/session", {201, 401}, login)
        if answer is None:
            return
        if answer.status_code == 201:
            self.account.token = answer.json()["token"]
        elif password == right:
            await self._ask("register", "POST", "/api/users", {201, 409}, login)

    async def _chat(self) -> None:
        model = self.chance.choice(MODELS)
        expected = {200}
        if self._happens(0.005):
            model, expected = "unavailable", {502, 503}
        body = {"message": self.chance.choice(QUESTIONS) + f" ({self.chance.randrange(20)})", "model": model}
        if self._happens(0.5):
            body["tool"] = "word_count"
        await self._ask("chat", "POST", "/api/chat", expected, body)

    async def _records(self) -> None:
        table = "/api/records?table=visits"
        if self._happens(0.3):
            fields: dict[str, Any] = {} if self._happens(0.05) else {"page": "home"}
            await self._ask("record_create", "POST", table, {201, 429} if fields else {422, 429}, {"fields": fields})
        else:
            await self._ask("record_list", "GET", table, {200, 429})

    async def _job(self) -> None:
        if self._happens(0.5):
            name, content = self.chance.choice(FILES)
            kind = "file"
        else:
            name, content = self.chance.choice(WORKFLOWS)
            kind = "workflow"
        if self._happens(0.05):
            kind, name, content = "file", "broken.json", "{"
        await self._ask("job", "POST", "/api/jobs", {202}, {"kind": kind, "name": name, "content": content})

    async def _order(self) -> None:
        order: dict[str, Any] = {"item": "book", "amount": round(self.chance.uniform(1, 200), 2)}
        expected = {201, 409}
        if self._happens(0.03):
            order["amount"] = 5000
        elif self._happens(0.02):
            order["item"] = "unshippable"
        answer = await self._ask("order", "POST", "/api/orders", expected, order)
        if answer is not None and answer.status_code == 201:
            self.order = answer.json()["id"]

    async def _refund(self) -> None:
        if not self.order or not self._happens(0.2):
            return
        # Sometimes the same order again: that is refused by the last step.
        refund = {"order": self.order}
        if not self._happens(0.1):
            self.order = ""
        await self._ask("refund", "POST", "/api/refunds", {201, 409}, refund)

    async def _upgrade(self) -> None:
        manifest, content = self.chance.choice(MANIFESTS)
        if self._happens(0.05):
            manifest, content = "package.json", "{"
        body = {"manifest": manifest, "content": content, "across_majors": self._happens(0.3)}
        await self._ask("upgrade", "POST", "/api/upgrades", {202}, body)

    async def _proof(self) -> None:
        claim = {"claim": "tautology", "formula": self.chance.choice(FORMULAS)}
        if self._happens(0.05):
            claim["formula"] = "p -> q"
        await self._ask("proof", "POST", "/api/proofs", {202}, claim)

    async def _tool(self) -> None:
        tool = self.chance.choice(["word_count", "remember", "search", "review"])
        text = "budget" if tool == "search" else self.chance.choice(QUESTIONS)
        await self._ask("tool", "POST", f"/api/tools/{tool}", {200}, {"text": text})

    async def _report(self) -> None:
        events: list[dict[str, Any]] = [
            {"type": "vital", "vital": "LCP", "value": self.chance.lognormvariate(0.3, 0.5)},
            {"type": "vital", "vital": "FCP", "value": self.chance.lognormvariate(-0.2, 0.5)},
            {"type": "vital", "vital": "INP", "value": self.chance.lognormvariate(-2.5, 0.6)},
            {"type": "vital", "vital": "TTFB", "value": self.chance.lognormvariate(-1.5, 0.6)},
            {"type": "vital", "vital": "CLS", "value": self.chance.expovariate(20)},
        ]
        if self._happens(0.05):
            events.append({"type": "error", "kind": "script", "message": "TypeError: undefined is not a function"})
        await self._ask("events", "POST", "/events", {204}, {"events": events})

    async def _ask(
        self, step: str, method: str, path: str, expected: set[int], body: dict[str, Any] | None = None
    ) -> httpx.Response | None:
        """Ask the frontend when it is time; None where it could not be reached."""
        await self.pace.wait()
        headers = {"authorization": f"Bearer {token}"} if (token := self.account.token) else {}
        try:
            answer = await self.frontend.request(method, path, json=body, headers=headers)
        except DependencyError as error:
            self.count(step, "unreachable")
            log.warning("step failed", step=step, error=str(error))
            return None
        as_expected = answer.status_code in expected
        self.count(step, "expected" if as_expected else "unexpected")
        if not as_expected:
            log.warning("unexpected answer", step=step, status=answer.status_code, expected=sorted(expected))
        return answer

    def _happens(self, probability: float) -> bool:
        return self.chance.random() < probability
