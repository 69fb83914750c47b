"""Routes of automation-services.

    POST /jobs        {"kind": "file" | "workflow" | "review", "name", "content"}
    POST /upgrades    {"manifest": "requirements.txt" | "package.json" | "go.mod", "across_majors": false} and either
                      "content" or "repository", "ref" and "path"
    POST /proofs      {"claim": "tautology", "formula"} or {"claim": "merkle", "leaf", "root", "path"}
    POST /digests     {"channel"}: what was done since the last one, to a channel of the chat
    GET, DELETE /jobs/{job}
    POST /reviews     {"text"}: findings of the review pipeline, in the answer

The first four answer 202 with the id of a job: it is stored, and will be done. With ``"id"`` in the body a job is
queued once, however often it is sent. With ``?wait=1`` they answer when it has ended: 201, or 422 where it failed;
202 as without it where that takes more than WAIT_SECONDS. The answer to a job that failed has its id and result beside
the error. 410 says that a job has ended and in which state, but that its result has made room for newer jobs; 503
that too many jobs wait, or take too much memory.

``name`` is the file's name, or a workflow: summary, post_fetch, pdf_generation, fulfilment. What makes a job fail:
malformed JSON in a .json file, rows of different length in a .csv file, no content in a workflow, a manifest that
cannot be read, a formula that is not always true, the channel "archived". The channel "unavailable" breaks each
delivery, so that its job is given up. Needs REDIS_URL, REDIS_PASSWORD_FILE, UPSTREAM_SIMULATORS; DIGEST_SECONDS
(default 60) is the period of the digest to the team.
"""

import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from automation_services.controller import Controller
from automation_services.digests import CHANNELS, Digests, every
from automation_services.jobs import FINAL, ID, JobTooLong, Queue, QueueFull, dumps
from automation_services.manifests import MANIFESTS
from automation_services.proofs import PROOFS
from automation_services.reviews import Reviews
from automation_services.streams import Streams
from automation_services.tasks import Tasks
from automation_services.work import WORKFLOWS
from telemetry import Telemetry, web
from telemetry.answers import error_body

MAX_CONTENT = 32_000
WAIT_SECONDS = 8.0
OVERLOADED_RETRY_SECONDS = 5
KINDS = ("file", "workflow", "review")
_REPOSITORY = re.compile(r"[A-Za-z0-9-]{1,39}/[A-Za-z0-9._-]{1,100}")
_PATH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


class Jobs:
    """Jobs over HTTP."""

    def __init__(self, controller: Controller, queue: Queue) -> None:
        self._controller = controller
        self._queue = queue

    async def create(self, request: Request) -> Response:
        """A file, a workflow or a review."""
        body = await web.read_json(request)
        kind, name, content = _one_of(body, "kind", KINDS), web.text(body, "name", 200), _content(body, "content")
        if kind == "workflow":
            _one_of(body, "name", WORKFLOWS)
            # Orders wait for nothing but orders.
            kind = name if name == "fulfilment" else kind
        return await self._accept(request, body, kind, name, content)

    async def upgrade(self, request: Request) -> Response:
        """The upgrade of a manifest."""
        body = await web.read_json(request)
        manifest = _one_of(body, "manifest", MANIFESTS)
        across_majors = body.get("across_majors", False)
        if not isinstance(across_majors, bool):
            raise HTTPException(400, "across_majors must be true or false")
        wanted: dict[str, Any] = {"across_majors": across_majors}
        if "repository" in body:
            wanted |= _source(body)
        else:
            wanted["content"] = _content(body, "content")
        return await self._accept(request, body, "upgrade", manifest, dumps(wanted))

    async def proof(self, request: Request) -> Response:
        """The proof of a claim."""
        body = await web.read_json(request)
        claim = _one_of(body, "claim", PROOFS)
        if claim == "tautology":
            content = _content(body, "formula")
        else:
            content = dumps({field: body.get(field) for field in ("leaf", "root", "path")})
            if len(content) > MAX_CONTENT:
                raise HTTPException(400, f"the claim is longer than {MAX_CONTENT} characters")
        return await self._accept(request, body, "proof", claim, content)

    async def digest(self, request: Request) -> Response:
        """A digest to a channel."""
        body = await web.read_json(request)
        return await self._accept(request, body, "digest", _one_of(body, "channel", CHANNELS), "")

    async def show(self, request: Request) -> Response:
        """State and result of a job."""
        state = await self._queue.state(request.path_params["job"])
        if state is None:
            raise HTTPException(404, "no such job")
        return JSONResponse(state) if "result" in state else _dropped(state)

    async def cancel(self, request: Request) -> Response:
        """Cancel a job: it is not done if it still waits, and its result is withdrawn if it is done."""
        job = request.path_params["job"]
        if not await self._queue.cancel(job):
            raise HTTPException(404, "no such job")
        return JSONResponse({"id": job, "state": "cancelled"})

    async def _accept(self, request: Request, body: dict[str, Any], kind: str, name: str, content: str) -> Response:
        wanted = body.get("id")
        if wanted is not None and (not isinstance(wanted, str) or not ID.fullmatch(wanted)):
            raise HTTPException(400, "id must be 8 to 64 letters, digits, - or _")
        try:
            job, _ = await self._controller.submit(kind, name, content, wanted)
        except QueueFull as error:
            retry = {"retry-after": str(OVERLOADED_RETRY_SECONDS)}
            return web.failure(503, "queue_full", str(error), retry)
        except JobTooLong as error:
            raise HTTPException(400, str(error)) from None
        state = None
        if request.query_params.get("wait") == "1":
            state = await self._controller.wait(job, WAIT_SECONDS)
        if state is None or state["state"] not in FINAL:
            return JSONResponse({"id": job, "state": "queued"}, 202)
        if "result" not in state:
            return _dropped(state)
        if state["state"] != "succeeded":
            reason = (state["result"] or {}).get("reason", state["state"])
            return JSONResponse(error_body("job_failed", reason) | state, 422)
        return JSONResponse(state, 201)


def _dropped(state: dict[str, Any]) -> Response:
    return JSONResponse(error_body("result_dropped", "the result has made room for newer jobs") | state, 410)


def _one_of(body: dict[str, Any], field: str, allowed: Any) -> str:
    value = web.text(body, field, 200)
    if value not in allowed:
        raise HTTPException(400, f"{field} must be one of {', '.join(allowed)}")
    return value


def _content(body: dict[str, Any], field: str) -> str:
    content = body.get(field)
    if not isinstance(content, str) or len(content) > MAX_CONTENT:
        raise HTTPException(400, f"{field} must be text of at most {MAX_CONTENT} characters")
    return content


def _source(body: dict[str, Any]) -> dict[str, str]:
    source = {field: web.text(body, field, 200) for field in ("repository", "ref", "path")}
    if not _REPOSITORY.fullmatch(source["repository"]):
        raise HTTPException(400, "repository must be owner/name")
    if not _PATH.fullmatch(source["path"]):
        raise HTTPException(400, "path must be the path of a file in the repository")
    for field in ("repository", "path"):
        # They become the path of a URL, in which these lead elsewhere.
        if {".", ".."}.intersection(source[field].split("/")):
            raise HTTPException(400, f'{field} must not have "." or ".." between its slashes')
    return source


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of automation-services."""
    dropped = telemetry.metrics.counter("job_results_dropped_total", "Results that made room for newer jobs.")
    queue = Streams(telemetry.redis(), dropped.inc)
    outside = telemetry.client("simulators")
    reviews = Reviews(telemetry)
    tasks = Tasks(telemetry, reviews, Digests(telemetry, queue, outside), outside)
    controller = Controller(telemetry, queue, tasks.handlers())
    period = telemetry.settings.number("DIGEST_SECONDS", "60")
    telemetry.background(controller.run)
    telemetry.background(lambda: every(period, controller.submit))
    jobs = Jobs(controller, queue)
    return telemetry.app(
        [
            Route("/jobs", jobs.create, methods=["POST"]),
            Route("/jobs/{job}", jobs.show, methods=["GET"]),
            Route("/jobs/{job}", jobs.cancel, methods=["DELETE"]),
            Route("/upgrades", jobs.upgrade, methods=["POST"]),
            Route("/proofs", jobs.proof, methods=["POST"]),
            Route("/digests", jobs.digest, methods=["POST"]),
            Route("/reviews", reviews.at_once, methods=["POST"]),
        ]
    )
