"""Routes of the simulators.

    POST /mistral/v1/chat/completions, /kimi/v1/chat/completions, /glm/api/paas/v4/chat/completions, /claude/v1/messages
    GET, POST /v0/{base}/{table}     Airtable's records API
    DELETE /v0/{base}/{table}/{id}
    GET, POST /v0/chat/{channel}     messages of a chat
    GET /repos/{owner}/{repository}/contents/{path}   GitHub's API for files

Needs PROVIDER_API_KEY_FILE and AIRTABLE_TOKEN_FILE: the keys that are right. May be set: TRAFFIC_SEED, which makes
the latencies the same in every run; LLM_REQUESTS_PER_MINUTE and LLM_TOKENS_PER_MINUTE, the limits of each provider;
AIRTABLE_REQUESTS_PER_SECOND of each base, AIRTABLE_PENALTY_SECONDS.
"""

from starlette.routing import Route
from starlette.types import ASGIApp

from simulators.airtable import Airtable
from simulators.budget import Budget
from simulators.chat import Chat
from simulators.chat_completions import Glm, Kimi, Mistral
from simulators.github import contents
from simulators.llm import Vendor
from simulators.messages import Messages
from simulators.shapes import Shape
from telemetry import Telemetry

REQUESTS_PER_MINUTE = "1200"
TOKENS_PER_MINUTE = "400000"
# airtable.com/developers/web/api/rate-limits
AIRTABLE_RATE = "5"
AIRTABLE_PENALTY = "30"


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the simulators."""
    settings = telemetry.settings
    key = settings.secret("PROVIDER_API_KEY_FILE")
    requests = settings.whole_number("LLM_REQUESTS_PER_MINUTE", REQUESTS_PER_MINUTE, minimum=1)
    tokens = settings.whole_number("LLM_TOKENS_PER_MINUTE", TOKENS_PER_MINUTE, minimum=1)

    def vendor(path: str, shape: Shape) -> Route:
        seed = settings.environ.get("TRAFFIC_SEED")
        return Route(path, Vendor(shape, key, Budget(requests, tokens), seed).complete, methods=["POST"])

    airtable = Airtable(
        settings.secret("AIRTABLE_TOKEN_FILE"),
        settings.whole_number("AIRTABLE_REQUESTS_PER_SECOND", AIRTABLE_RATE, minimum=1),
        settings.number("AIRTABLE_PENALTY_SECONDS", AIRTABLE_PENALTY),
    )
    chat = Chat()
    return telemetry.app(
        [
            vendor("/mistral/v1/chat/completions", Mistral()),
            vendor("/kimi/v1/chat/completions", Kimi()),
            vendor("/glm/api/paas/v4/chat/completions", Glm()),
            vendor("/claude/v1/messages", Messages()),
            Route("/v0/chat/{channel}", chat.post, methods=["POST"]),
            Route("/v0/chat/{channel}", chat.read, methods=["GET"]),
            Route("/repos/{owner}/{repository}/contents/{path:path}", contents, methods=["GET"]),
            Route("/v0/{base}/{table}", airtable.around(airtable.list_records), methods=["GET"]),
            Route("/v0/{base}/{table}", airtable.around(airtable.create), methods=["POST"]),
            Route("/v0/{base}/{table}/{record}", airtable.around(airtable.delete), methods=["DELETE"]),
        ]
    )
