"""Routes of the simulators.

    POST /v1/chat/completions        the part of the chat-completions API that the orchestrator uses
    GET, POST /v0/{base}/{table}     Airtable's records API
    DELETE /v0/{base}/{table}/{id}
    GET, POST /v0/chat/{channel}     messages of a chat
    GET /repos/{owner}/{repository}/contents/{path}   GitHub's API for files

TRAFFIC_SEED, where set, makes the latencies the same in every run.
"""

import random

from starlette.routing import Route
from starlette.types import ASGIApp

from simulators.airtable import Airtable
from simulators.chat import Chat
from simulators.github import contents
from simulators.llm import Llm
from telemetry import Telemetry


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the simulators."""
    llm = Llm(random.Random(telemetry.settings.environ.get("TRAFFIC_SEED")))
    airtable = Airtable()
    chat = Chat()
    return telemetry.app(
        [
            Route("/v1/chat/completions", llm.complete, methods=["POST"]),
            Route("/v0/chat/{channel}", chat.post, methods=["POST"]),
            Route("/v0/chat/{channel}", chat.read, methods=["GET"]),
            Route("/repos/{owner}/{repository}/contents/{path:path}", contents, methods=["GET"]),
            Route("/v0/{base}/{table}", airtable.list_records, methods=["GET"]),
            Route("/v0/{base}/{table}", airtable.create, methods=["POST"]),
            Route("/v0/{base}/{table}/{record}", airtable.delete, methods=["DELETE"]),
        ]
    )
