"""Routes of automation-services.

    POST /jobs          {"kind": "file" | "workflow", "name", "content"}: 202 with its id; the worker does it
    POST /jobs?wait=1   the same, done at once: 201, or 422 where it failed
    GET, DELETE /jobs/{job}
    POST /reviews       {"text"}: findings of the review pipeline

``name`` is the file's name, or a workflow: summary, post_fetch, pdf_generation, fulfilment. What makes a
job fail: malformed JSON in a .json file, rows of different length in a .csv file, no content in a workflow.
Needs REDIS_URL, REDIS_PASSWORD_FILE.
"""

import uuid

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from automation_services.jobs import Queue
from automation_services.reviews import Reviews
from automation_services.work import KINDS, WORKFLOWS, WorkFailed
from automation_services.worker import Worker
from telemetry import Telemetry, web

MAX_CONTENT = 32_000


class Jobs:
    """Jobs over HTTP."""

    def __init__(self, queue: Queue, worker: Worker) -> None:
        self._queue = queue
        self._worker = worker

    async def create(self, request: Request) -> Response:
        """Queue a job, or do it at once."""
        body = await web.read_json(request)
        kind, name = web.text(body, "kind"), web.text(body, "name", 200)
        content = body.get("content")
        if kind not in KINDS:
            raise HTTPException(400, f"kind must be one of {', '.join(KINDS)}")
        if kind == "workflow" and name not in WORKFLOWS:
            raise HTTPException(400, f"name must be one of {', '.join(WORKFLOWS)}")
        if not isinstance(content, str) or len(content) > MAX_CONTENT:
            raise HTTPException(400, f"content must be text of at most {MAX_CONTENT} characters")
        if "wait" in request.query_params:
            return await self._at_once(kind, name, content)
        job = await self._queue.put(kind, name, content)
        return JSONResponse({"id": job.id, "state": "queued"}, 202)

    async def show(self, request: Request) -> Response:
        """State and result of a job."""
        state = await self._queue.state(request.path_params["job"])
        if state is None:
            raise HTTPException(404, "no such job")
        return JSONResponse(state)

    async def cancel(self, request: Request) -> Response:
        """Cancel a job: it is not done if it still waits, and its result is withdrawn if it is done."""
        job = request.path_params["job"]
        if await self._queue.state(job) is None:
            raise HTTPException(404, "no such job")
        await self._queue.set_state(job, "cancelled")
        return JSONResponse({"id": job, "state": "cancelled"})

    async def _at_once(self, kind: str, name: str, content: str) -> Response:
        run = self._worker.run_file if kind == "file" else self._worker.run_workflow
        try:
            result = run(name, content)
        except WorkFailed as error:
            raise HTTPException(422, str(error)) from None
        job = uuid.uuid4().hex
        await self._queue.set_state(job, "succeeded", result)
        return JSONResponse({"id": job, "state": "succeeded", "result": result}, 201)


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of automation-services."""
    queue = Queue(telemetry.redis())
    worker = Worker(telemetry, queue)
    telemetry.background(worker.run)
    jobs = Jobs(queue, worker)
    return telemetry.app(
        [
            Route("/jobs", jobs.create, methods=["POST"]),
            Route("/jobs/{job}", jobs.show, methods=["GET"]),
            Route("/jobs/{job}", jobs.cancel, methods=["DELETE"]),
            Route("/reviews", Reviews(telemetry).review, methods=["POST"]),
        ]
    )
