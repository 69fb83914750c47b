"""What visitors do: one method for each step that traffic.visitors names. Some are meant to fail."""

import asyncio
import hashlib
import hmac
import json
import random
import uuid
from typing import Any

import httpx

from telemetry import DependencyError, get_logger, ids
from traffic.inputs import (
    BROWSER,
    ENUMERATED,
    EVENTS,
    FILES,
    FORMULAS,
    GUESSES,
    IMPORTED,
    MANIFESTS,
    MODELS,
    OVERSIZED_BYTES,
    PAGES,
    QUESTIONS,
    SCANNED,
    WORKFLOWS,
)
from traffic.site import Account, Site
from traffic.visitors import Visit

log = get_logger("traffic")


class Journey:
    """One visit under one correlation id."""

    def __init__(self, site: Site, visit: Visit, patience: float = 1.0) -> None:
        self._site = site
        self._visit = visit
        self._patience = patience
        self._chance: random.Random = visit.chance
        self._id = f"visit-{uuid.uuid4().hex}"
        self._page = "home"
        self._account: Account | None = None
        self._ordered = ""
        self._events: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Load a page where the visitor has a browser, take the steps, report."""
        if self._visit.visitor.browser:
            self._events.append({"type": "user", "event": "visit"})
            await self._page_view()
        for step in self._visit.steps:
            await self._think()
            await getattr(self, f"_{step}")()
        if self._visit.visitor.browser:
            await self._report()

    async def _page_view(self) -> None:
        self._page = self._chance.choice(list(PAGES))
        self._events.append({"type": "view", "page": self._page})
        await self._ask("page", "GET", PAGES[self._page], {200})

    # Steps of readers

    async def _annoyed(self) -> None:
        self._events.append({"type": "user", "event": "rage_click"})

    async def _gives_up(self) -> None:
        self._events.append({"type": "user", "event": "form_abandoned"})

    async def _failing_page(self) -> None:
        for kind, message in (
            ("script", "TypeError: undefined is not a function (/static/app.js:1)"),
            ("promise", "AbortError: the user aborted a request"),
            ("resource", "/static/missing.png"),
            ("csp", "script-src /inject.js"),
        ):
            self._events.append({"type": "error", "kind": kind, "message": message})

    # Steps of members

    async def _session(self) -> None:
        self._account = self._account or self._chance.choice(self._site.accounts)
        async with self._account.login:
            if not self._account.token:
                await self._log_in(self._account)
                return
        answer = await self._ask("session", "GET", "/api/session", {200, 401})
        if answer is not None and answer.status_code == 401:
            self._account.token = ""

    async def _log_in(self, account: Account) -> None:
        login = {"email": account.email, "password": account.password}
        answer = await self._ask("login", "POST", "/api/session", {201, 401, 429}, login)
        if answer is not None and answer.status_code == 401:
            await self._ask("register", "POST", "/api/users", {201, 409}, login)
            answer = await self._ask("login", "POST", "/api/session", {201}, login)
        if answer is not None and answer.status_code == 201:
            account.token = answer.json()["token"]

    async def _wrong_password(self) -> None:
        account = self._chance.choice(self._site.accounts)
        login = {"email": account.email, "password": account.password[:-1] + "?"}
        await self._ask("wrong_password", "POST", "/api/session", {401, 429}, login)

    async def _log_out(self) -> None:
        await self._session()
        if self._account is not None and self._account.token:
            await self._ask("log_out", "DELETE", "/api/session", {204, 401})
            self._account.token = ""

    async def _order(self) -> None:
        order = {"item": "book", "amount": round(self._chance.uniform(1, 200), 2)}
        answer = await self._ask("order", "POST", "/api/orders", {201, 409}, order)
        if answer is not None and answer.status_code == 201:
            self._ordered = str(answer.json()["id"])

    async def _refund(self) -> None:
        """What was ordered comes back, and what came back before is refused."""
        if not self._ordered:
            await self._order()
        for _ in range(2 if self._ordered else 0):
            await self._ask("refund", "POST", "/api/refunds", {201, 409}, {"order": self._ordered})

    async def _order_declined(self) -> None:
        await self._ask("order_declined", "POST", "/api/orders", {409}, {"item": "book", "amount": 5000})

    async def _order_unshippable(self) -> None:
        await self._ask("order_unshippable", "POST", "/api/orders", {409}, {"item": "unshippable", "amount": 20})

    # Steps around chats, records and jobs

    async def _chat(self) -> None:
        message = self._chance.choice(QUESTIONS) + f" ({self._chance.randrange(20)})"
        body: dict[str, Any] = {"message": message, "model": self._chance.choice(MODELS)}
        if self._happens(0.5):
            body["tool"] = "word_count"
        if self._happens(0.2):
            body["stream"] = True
        await self._ask("chat", "POST", "/api/chat", {200}, body)

    async def _chat_unavailable(self) -> None:
        await self._ask_model("unavailable", {502, 503})

    async def _chat_throttled(self) -> None:
        await self._ask_model("throttled", {429, 503})

    async def _chat_slow(self) -> None:
        await self._ask_model("slow", {200, 503})

    async def _ask_model(self, model: str, expected: set[int]) -> None:
        # A number that no other question has: what is in the cache does not fail.
        body = {"message": f"Are you there? ({uuid.uuid4().hex})", "model": model}
        await self._ask(f"chat_{model}", "POST", "/api/chat", expected, body)

    async def _malformed(self) -> None:
        await self._ask("malformed", "POST", "/api/chat", {400}, content=b'{"message": ')
        await self._ask("malformed", "POST", "/api/chat", {400}, {"message": "Hello", "model": "no-such-model"})
        await self._ask("malformed", "POST", "/api/orders", {400}, {"item": "book", "amount": "much"})

    async def _tool(self) -> None:
        tool = self._chance.choice(["word_count", "remember", "search", "review", "notes", "summarize"])
        text = "budget" if tool == "search" else self._chance.choice(QUESTIONS)
        await self._ask("tool", "POST", f"/api/tools/{tool}", {200}, {} if tool == "notes" else {"text": text})

    async def _record_list(self) -> None:
        await self._ask("record_list", "GET", "/api/records?table=visits", {200, 429})

    async def _record_create(self) -> None:
        fields = {"name": f"visitor {self._chance.randrange(1000)}", "note": self._page}
        await self._ask("record_create", "POST", "/api/records?table=visits", {201, 429}, {"fields": fields})

    async def _record_malformed(self) -> None:
        await self._ask("record_malformed", "POST", "/api/records?table=visits", {422, 429}, {"fields": {}})

    async def _record_import(self) -> None:
        """More at once than Airtable takes in a second."""
        await asyncio.gather(*(self._record_create() for _ in range(IMPORTED)))

    async def _job(self) -> None:
        kind, (name, content) = self._chance.choice(
            [*(("file", file) for file in FILES), *(("workflow", workflow) for workflow in WORKFLOWS)]
        )
        job = {"kind": kind, "name": name, "content": content}
        answer = await self._ask("job", "POST", "/api/jobs", {202}, job)
        if answer is not None and answer.status_code == 202:
            await self._think()
            await self._ask("job_state", "GET", f"/api/jobs/{answer.json()['id']}", {200, 410})

    async def _job_broken(self) -> None:
        job = {"kind": "file", "name": "broken.json", "content": "{"}
        await self._ask("job_broken", "POST", "/api/jobs", {202}, job)

    async def _upgrade(self) -> None:
        manifest, content = self._chance.choice(MANIFESTS)
        body = {"manifest": manifest, "content": content, "across_majors": self._happens(0.3)}
        await self._ask("upgrade", "POST", "/api/upgrades", {202}, body)

    async def _upgrade_broken(self) -> None:
        body = {"manifest": "package.json", "content": "{", "across_majors": False}
        await self._ask("upgrade_broken", "POST", "/api/upgrades", {202}, body)

    async def _proof(self) -> None:
        claim = {"claim": "tautology", "formula": self._chance.choice(FORMULAS)}
        await self._ask("proof", "POST", "/api/proofs", {202}, claim)

    async def _proof_false(self) -> None:
        await self._ask("proof_false", "POST", "/api/proofs", {202}, {"claim": "tautology", "formula": "p -> q"})

    # Steps of machines, which ask the gateway itself

    async def _webhook(self) -> None:
        event = self._chance.choice(list(EVENTS))
        await self._deliver("webhook", event, self._site.webhook_secret, {200, 202})

    async def _webhook_forged(self) -> None:
        await self._deliver("webhook_forged", "push", "a secret that is not the right one", {401})

    async def _deliver(self, step: str, event: str, secret: str, expected: set[int]) -> None:
        content = json.dumps({"repository": {"name": "shop", "full_name": "example/shop"}, **EVENTS[event]}).encode()
        signature = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
        headers = {
            "content-type": "application/json",
            "x-github-event": event,
            "x-github-delivery": str(uuid.uuid4()),
            "x-hub-signature-256": f"sha256={signature}",
            "user-agent": "GitHub-Hookshot/lookout-traffic",
        }
        await self._ask(step, "POST", "/webhooks/github", expected, content=content, headers=headers)

    async def _scan(self) -> None:
        for method, path, agent in SCANNED:
            await self._ask("scan", method, path, {404, 405}, headers={"user-agent": agent})

    async def _enumerate(self) -> None:
        for number in range(ENUMERATED):
            await self._ask("enumerate", "GET", f"/api/jobs/{number}", {404}, headers={"user-agent": "curl/8"})

    async def _oversized(self) -> None:
        await self._ask("oversized", "POST", "/api/chat", {413}, content=b"x" * OVERSIZED_BYTES)

    async def _guess_passwords(self) -> None:
        for number in range(GUESSES):
            login = {"email": "admin@lookout.invalid", "password": f"password{number:04}"}
            await self._ask("guess_passwords", "POST", "/api/session", {401, 429}, login)

    # What all of them share

    async def _report(self) -> None:
        for vital, mean, spread in (("LCP", 0.3, 0.5), ("FCP", -0.2, 0.5), ("INP", -2.5, 0.6), ("TTFB", -1.5, 0.6)):
            self._events.append({"type": "vital", "vital": vital, "value": self._chance.lognormvariate(mean, spread)})
        self._events.append({"type": "vital", "vital": "CLS", "value": self._chance.expovariate(20)})
        body = {"visit": self._id, "page": self._page, "events": self._events}
        await self._ask("events", "POST", "/events", {204}, body)

    async def _ask(
        self,
        step: str,
        method: str,
        path: str,
        expected: set[int],
        body: dict[str, Any] | None = None,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response | None:
        """Ask as the visitor does; None where there was no answer."""
        browser = self._visit.visitor.browser
        sent = {"user-agent": BROWSER, "x-forwarded-for": self._visit.address, **(headers or {})}
        if browser and self._account is not None and self._account.token:
            sent["authorization"] = f"Bearer {self._account.token}"
        if browser and method == "POST" and path != "/events":
            self._events.append({"type": "user", "event": "form_submitted"})
        client = self._site.frontend if browser else self._site.gateway
        try:
            with ids.bound(ids.Ids(uuid.uuid4().hex, self._id)):
                answer = await client.request(method, path, json=body, content=content, headers=sent)
        except DependencyError as error:
            self._site.count(step, "unreachable")
            log.warning("step failed", step=step, error=str(error))
            return None
        as_expected = answer.status_code in expected
        self._site.count(step, "expected" if as_expected else "unexpected")
        if not as_expected:
            log.warning("unexpected answer", step=step, status=answer.status_code, expected=sorted(expected))
        if browser and answer.status_code >= 500:
            error_event = {"type": "error", "kind": "api", "message": f"{method} {path} {answer.status_code}"}
            self._events.append(error_event)
        return answer

    async def _think(self) -> None:
        mean = self._visit.visitor.think * self._patience
        await asyncio.sleep(min(self._chance.expovariate(1 / mean), 5 * mean))

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability
