"""Any ASGI application can be instrumented: its routes are named, its start and shutdown are its own."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry import Telemetry
from tests.unit.services.helpers import Browser, LogLines, MakeTelemetry


async def item(_request: Request) -> Response:
    return PlainTextResponse("item")


async def plain(scope: Scope, _receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"plain"})


def fastapi_item() -> str:
    return "item"


def starlette_apps() -> dict[str, Starlette]:
    """Applications whose one route has a template that is put together in another way each."""
    leaf = [Route("/items/{item}", item)]
    return {
        "flat": Starlette(routes=leaf),
        "mounted": Starlette(routes=[Mount("/v1", routes=leaf)]),
        "twice": Starlette(routes=[Mount("/v1", routes=[Mount("/{tenant}", routes=leaf)])]),
        "sub": Starlette(routes=[Mount("/v1", app=Starlette(routes=leaf))]),
        "shared": Starlette(routes=[Mount("/v0", routes=leaf), Mount("/v1", routes=leaf)]),
    }


def fastapi_apps() -> dict[str, FastAPI]:
    """The same for FastAPI."""
    flat, included, nested, mounted, under = FastAPI(), FastAPI(), FastAPI(), FastAPI(), FastAPI()
    router, outer = APIRouter(), APIRouter()
    router.get("/items/{item}")(fastapi_item)
    flat.get("/items/{item}")(fastapi_item)
    included.include_router(router, prefix="/v1")
    outer.include_router(router, prefix="/{tenant}")
    nested.include_router(outer, prefix="/v1")
    under.include_router(router, prefix="/{tenant}")
    mounted.mount("/v1", under)
    return {"flat": flat, "included": included, "nested": nested, "mounted": mounted}


def routes_of(telemetry: Telemetry) -> set[tuple[str, str]]:
    text = telemetry.metrics.expose("")[0].decode()
    return set(re.findall(r'http_requests_total{method="\w+",route="([^"]*)",service="shop",status="(\d+)"}', text))


@pytest.mark.parametrize(
    ("kind", "path", "template"),
    [
        ("flat", "/items/7", "/items/{item}"),
        ("mounted", "/v1/items/7", "/v1/items/{item}"),
        ("twice", "/v1/acme/items/7", "/v1/{tenant}/items/{item}"),
        ("sub", "/v1/items/7", "/v1/items/{item}"),
        ("shared", "/v1/items/7", "/v1/items/{item}"),
        ("shared", "/v0/items/7", "/v0/items/{item}"),
    ],
)
def test_a_route_of_starlette_is_counted_by_its_whole_template(
    make_telemetry: MakeTelemetry, kind: str, path: str, template: str
) -> None:
    telemetry = make_telemetry()
    assert Browser(telemetry.instrument(starlette_apps()[kind])).get(path).status_code == 200
    assert routes_of(telemetry) == {(template, "200")}


@pytest.mark.parametrize(
    ("kind", "path", "template"),
    [
        ("flat", "/items/7", "/items/{item}"),
        ("included", "/v1/items/7", "/v1/items/{item}"),
        ("nested", "/v1/acme/items/7", "/v1/{tenant}/items/{item}"),
        ("mounted", "/v1/acme/items/7", "/v1/{tenant}/items/{item}"),
    ],
)
def test_a_route_of_fastapi_is_counted_by_its_whole_template(
    make_telemetry: MakeTelemetry, kind: str, path: str, template: str
) -> None:
    telemetry = make_telemetry()
    http = Browser(telemetry.instrument(fastapi_apps()[kind]))
    assert http.get(path).status_code == 200
    assert http.post(path).status_code == 405
    assert routes_of(telemetry) == {(template, "200"), (template, "405")}


@pytest.mark.parametrize("app", [*starlette_apps().values(), *fastapi_apps().values()])
def test_what_no_route_takes_is_unmatched_wherever_it_is_mounted(make_telemetry: MakeTelemetry, app: ASGIApp) -> None:
    telemetry = make_telemetry()
    http = Browser(telemetry.instrument(app))
    for path in ("/nothing", "/v1/nothing", "/v1/acme/nothing/1"):
        # 307 where a mount asks for a slash.
        assert http.get(path).status_code in (404, 307)
    assert {route for route, _ in routes_of(telemetry)} == {"unmatched"}


def test_an_application_that_is_mounted_without_routes_is_one_route(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    http = Browser(telemetry.instrument(Starlette(routes=[Mount("/files", app=plain)])))
    http.get("/files/a/b")
    http.get("/files/c")
    assert routes_of(telemetry) == {("/files/{path}", "200")}


def test_a_plain_application_has_no_routes(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    assert Browser(telemetry.instrument(plain)).get("/any/path").text == "plain"
    assert routes_of(telemetry) == {("unmatched", "200")}


def test_ten_thousand_random_paths_and_methods_make_no_series(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    app = telemetry.instrument(starlette_apps()["twice"])

    async def ask(method: str, path: str) -> None:
        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}

        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(_message: Message) -> None:
            return None

        await app(scope, receive, send)

    async def scan(numbers: range) -> None:
        for number in numbers:
            await ask(f"M{number}" if number % 3 else "GET", f"/{number:x}/{number % 7}/" + "x" * (number % 50))
            await ask("GET", f"/v1/tenant-{number}/items/{number}")

    def count() -> int:
        return len(telemetry.metrics.expose("")[0].splitlines())

    asyncio.run(scan(range(10)))
    before = count()
    asyncio.run(scan(range(10, 10_010)))
    assert count() == before


@pytest.mark.parametrize("path", ["/health", "/live", "/live/metrics", "/metrics"])
def test_endpoints_are_served_under_a_root_path_too(make_telemetry: MakeTelemetry, path: str) -> None:
    app = make_telemetry().instrument(plain)
    with TestClient(app, root_path="/shop") as http:
        assert http.get(path).text != "plain"
        assert http.post(path).text == "plain"


def test_the_application_starts_and_ends_within_the_clients_and_background_work(
    make_telemetry: MakeTelemetry,
) -> None:
    telemetry = make_telemetry()
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[dict[str, str]]:
        seen.append("start")
        yield {"found": "state"}
        seen.append("end")

    async def work() -> None:
        seen.append("work begins")
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("work ends")

    async def show(request: Request) -> Response:
        return PlainTextResponse(request.state.found)

    telemetry.background(work)
    app = telemetry.instrument(Starlette(routes=[Route("/", show)], lifespan=lifespan))
    with TestClient(app) as http:
        assert http.get("/").text == "state"
    assert sorted(seen) == ["end", "start", "work begins", "work ends"]
    assert seen.index("end") < seen.index("work ends")


def test_an_application_without_a_lifespan_gets_one(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    telemetry = make_telemetry()
    with TestClient(telemetry.instrument(plain)) as http:
        assert http.get("/").text == "plain"
    assert [line["level"] for line in log_lines() if line["logger"] == "telemetry.lifespan"] == ["info"]


def test_an_application_that_fails_to_start_fails_to_start(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        raise RuntimeError("no licence")
        yield

    app = make_telemetry().instrument(Starlette(lifespan=lifespan))
    sent = asyncio.run(start(app))
    assert sent["type"] == "lifespan.startup.failed"
    assert "no licence" in sent["message"]
    assert log_lines() == []


async def start(app: ASGIApp) -> Message:
    """The first answer of a lifespan."""
    answers: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        answers.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return answers[0]
