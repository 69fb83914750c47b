"""Pages, the endpoint for browser reports, and the proxy to the gateway.

Needs UPSTREAM_API_GATEWAY.
"""

from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from frontend.events import Events
from telemetry import Telemetry, web

PAGES = {"/": "home", "/chat": "chat", "/records": "records", "/orders": "orders"}
# A little more than the gateway waits for its own upstreams.
TIMEOUT_SECONDS = 40.0
PASSED_ON = ("authorization", "content-type")
PASSED_BACK = ("content-type", "retry-after")
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def build(telemetry: Telemetry) -> ASGIApp:
    """The application of the frontend."""
    gateway = telemetry.client("api-gateway", TIMEOUT_SECONDS)
    events = Events(telemetry)
    views = telemetry.metrics.counter("frontend_page_views_total", "Pages served.", ["page"])
    folder = Path(__file__).parent
    html = (folder / "page.html").read_text(encoding="utf-8")
    script = Response(
        (folder / "page.js").read_bytes(),
        headers=SECURITY_HEADERS,
        media_type="text/javascript; charset=utf-8",
    )

    def page(name: str) -> Route:
        path = next(path for path, known in PAGES.items() if known == name)
        response = HTMLResponse(html.replace("PAGE_NAME", name), headers=SECURITY_HEADERS)

        async def show(_request: Request) -> Response:
            views.labels(name).inc()
            return response

        return Route(path, show, methods=["GET"])

    async def show_script(_request: Request) -> Response:
        return script

    async def proxy(request: Request) -> Response:
        body = await web.read_body(request)
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        headers["x-forwarded-for"] = request.client.host if request.client else "unknown"
        url = httpx.URL(path="/api/" + request.path_params["path"], query=request.url.query.encode())
        answer = await gateway.request(request.method, url, content=body, headers=headers)
        if answer.status_code >= 500:
            events.errors.labels("api").inc()
        back = {name: answer.headers[name] for name in PASSED_BACK if name in answer.headers}
        return Response(answer.content, answer.status_code, back)

    return telemetry.app(
        [
            *(page(name) for name in PAGES.values()),
            Route("/page.js", show_script, methods=["GET"]),
            Route("/events", events.receive, methods=["POST"]),
            Route("/api/{path:path}", proxy, methods=["GET", "POST", "DELETE"]),
        ]
    )
