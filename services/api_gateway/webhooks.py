"""Signed webhooks of the GitHub App: each event becomes work, once.

    push           a review of the commit messages; the upgrade of each manifest that was changed
    pull_request   a review of its title and text, when it is opened, reopened, edited or has new commits
    release        when published: a post of it is fetched, and the channel "releases" gets a digest
    ping           an answer; any other event is accepted and ignored

A delivery whose work was accepted within REMEMBERED_SECONDS is answered 200 and makes no more. It is remembered after
that and not before, so that GitHub can repeat one that got stuck on the way, whatever broke. What was accepted already
is not queued again then, for the ids of its jobs follow from that of the delivery; automation-services knows them for
an hour after their end.
"""

import hashlib
import hmac
import html
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from telemetry import DependencyError, Telemetry, faults, get_logger, web
from telemetry.redis_store import RedisStore

MAX_BODY_BYTES = 1024 * 1024
REMEMBERED_SECONDS = 3 * 24 * 3600
"""As long as GitHub lets a delivery be repeated."""
MAX_JOBS = 10
MAX_TEXT = 16_000
EVENTS = ("push", "pull_request", "release", "ping", "other")
OUTCOMES = ("accepted", "ignored", "duplicate", "failed")
MANIFESTS = ("requirements.txt", "package.json", "go.mod")
REVIEWED_ACTIONS = ("opened", "reopened", "edited", "synchronize")
_PATH = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_DELIVERY = re.compile(r"[A-Za-z0-9-]{8,48}")
log = get_logger("api_gateway.webhooks")
BAD_SIGNATURES = faults.hook("bad_signatures")
Send = Callable[[str, str, str, bytes, Mapping[str, str]], Awaitable[httpx.Response]]
Work = tuple[str, dict[str, Any]]
"""A path of automation-services and the body to post to it."""


def signature(secret: str, body: bytes) -> str:
    """Value of X-Hub-Signature-256 (docs.github.com, "Validating webhook deliveries")."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def work_of(event: str, payload: dict[str, Any]) -> list[Work]:
    """What an event asks for. Raises HTTPException 400 where the payload is not that of such an event."""
    try:
        if event == "push":
            return _push(payload)
        if event == "pull_request" and payload["action"] in REVIEWED_ACTIONS:
            asked = payload["pull_request"]
            return [_review(f"pull request {asked['number']}", f"{asked['title']}\n\n{asked['body'] or ''}")]
        if event == "release" and payload["action"] == "published":
            release = payload["release"]
            title = html.escape(str(release["name"] or release["tag_name"]))
            content = f"<article><h1>{title}</h1>{html.escape(str(release['body'] or ''))}</article>"[:MAX_TEXT]
            post = {"kind": "workflow", "name": "post_fetch", "content": content}
            return [("/jobs", post), ("/digests", {"channel": "releases"})]
    except (KeyError, TypeError, AttributeError) as error:
        raise HTTPException(400, f"the payload is not that of {event}: {type(error).__name__} {error}") from None
    return []


def _push(payload: dict[str, Any]) -> list[Work]:
    if payload["deleted"] or not payload["commits"]:
        return []
    commits = payload["commits"]
    messages = "\n\n".join(str(commit["message"]) for commit in commits)
    changed = sorted({str(path) for commit in commits for path in (*commit["added"], *commit["modified"])})
    source = {"repository": payload["repository"]["full_name"], "ref": payload["after"]}
    upgrades: list[Work] = [
        ("/upgrades", {"manifest": name, "path": path, **source})
        for path in changed
        if (name := path.rpartition("/")[2]) in MANIFESTS and _PATH.fullmatch(path)
    ]
    return [_review(str(payload["ref"]), messages), *upgrades][:MAX_JOBS]


def _review(name: str, text: str) -> Work:
    return "/jobs", {"kind": "review", "name": name[:200], "content": text[:MAX_TEXT]}


class GithubWebhook:
    """Checks the signature, then queues the work of the event."""

    def __init__(self, telemetry: Telemetry, secret: str, store: RedisStore, send: Send) -> None:
        self._secret = secret
        self._store = store
        self._send = send
        self._failures = telemetry.metrics.counter(
            "webhook_signature_failures_total", "Webhooks with a missing or wrong signature.", ["source"]
        )
        self._failures.labels("github")
        self._events = telemetry.metrics.counter(
            "webhook_events_total", "Signed webhooks by what came of them.", ["source", "event", "outcome"]
        )
        for event in EVENTS:
            for outcome in OUTCOMES:
                self._events.labels("github", event, outcome)

    async def receive(self, request: Request) -> Response:
        """202 with the ids of the jobs, 200 for a ping and a repetition, 401 for what is not signed."""
        body = await web.read_body(request, MAX_BODY_BYTES)
        given = request.headers.get("x-hub-signature-256", "")
        right = hmac.compare_digest(given.encode(), signature(self._secret, body).encode())
        if BAD_SIGNATURES.strikes() or not right:
            self._failures.labels("github").inc()
            log.warning("webhook signature is wrong", source="github", given=bool(given))
            return web.failure(401, "bad_signature", "X-Hub-Signature-256 is missing or wrong")
        delivery, event = request.headers.get("x-github-delivery", ""), request.headers.get("x-github-event", "")
        if not _DELIVERY.fullmatch(delivery):
            return web.failure(400, "bad_delivery", "X-GitHub-Delivery must be 8 to 48 letters, digits or -")
        event = event if event in EVENTS else "other"
        outcome = "failed"
        try:
            outcome, answer = await self._accept(event, delivery, web.json_object(body, "the payload"))
        finally:
            self._events.labels("github", event, outcome).inc()
        log.info("webhook", source="github", webhook_event=event, delivery=delivery, outcome=outcome)
        return answer

    async def _accept(self, event: str, delivery: str, payload: dict[str, Any]) -> tuple[str, Response]:
        if event == "ping":
            return "accepted", JSONResponse({"pong": True})
        work = work_of(event, payload)
        mark = f"webhook:github:{delivery}"
        if await self._store.call("GET", mark) is not None:
            return "duplicate", JSONResponse({"duplicate": True})
        jobs = [
            await self._queue(path, {**body, "id": f"github-{delivery}-{number}"})
            for number, (path, body) in enumerate(work)
        ]
        try:
            await self._store.call("SET", mark, "1", "EX", REMEMBERED_SECONDS)
        except DependencyError as error:
            # The work is accepted all the same, and a repetition of it finds its ids taken.
            log.warning("delivery is not remembered", delivery=delivery, error=str(error))
        return "accepted" if jobs else "ignored", JSONResponse({"jobs": jobs}, 202)

    async def _queue(self, path: str, body: dict[str, Any]) -> str:
        headers = {"content-type": "application/json"}
        answer = await self._send("automation-services", "POST", path, json.dumps(body).encode(), headers)
        if answer.status_code != 202:
            log.error("work of a webhook is refused", path=path, status=answer.status_code)
            # 503: the queue is full, and GitHub may come again.
            raise HTTPException(503 if answer.status_code == 503 else 502, "automation-services refused the event")
        return str(answer.json()["id"])
