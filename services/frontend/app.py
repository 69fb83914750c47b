"""Pages, the endpoint for what browsers report, and the way from the page to the gateway.

Needs UPSTREAM_API_GATEWAY. May be set: TRUSTED_PROXIES (hosts whose X-Forwarded-For is believed).
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from frontend import pages
from frontend.events import Events
from telemetry import Telemetry, onward, web
from telemetry.errors import FAILED_HEADER
from telemetry.forwarded import Proxies

# A little more than the gateway waits for its own upstreams.
TIMEOUT_SECONDS = 40.0
PASSED_ON = ("authorization", "content-type", "user-agent")
PASSED_BACK = (
    "content-type",
    "retry-after",
    FAILED_HEADER,
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the frontend."""
    gateway = telemetry.client("api-gateway", TIMEOUT_SECONDS)
    proxies = Proxies(telemetry.settings)
    telemetry.background(proxies.keep_fresh)
    events = Events(telemetry, proxies)

    async def proxy(request: Request) -> Response:
        # Segment by segment, lest ".." leads out of /api.
        path = "/api/" + "/".join(map(onward.segment, request.path_params["path"].split("/")))
        url = onward.url(path, request.scope["query_string"])
        body = await web.read_body(request)
        headers = onward.headers(request, PASSED_ON)
        headers["x-forwarded-for"] = proxies.client(request.scope)
        asking = gateway.stream(request.method, url, content=body, headers=headers)
        answer = await onward.answer(asking, PASSED_BACK)
        answer.headers["cache-control"] = "no-store"
        return answer

    return telemetry.app(
        [
            *pages.routes(),
            Route("/events", events.receive, methods=["POST"]),
            Route("/api/{path:path}", proxy, methods=["GET", "POST", "DELETE"]),
        ]
    )
