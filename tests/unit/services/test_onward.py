"""What the gateway and the frontend pass on, between real sockets."""

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import h11
import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from api_gateway.app import SERVICES
from api_gateway.app import build as build_gateway
from frontend.app import build as build_frontend
from lookout.verify.polling import NotYet, poll_until
from telemetry import Telemetry, onward
from tests.unit.services.helpers import LogLines, MakeTelemetry
from tests.unit.services.servers import serving
from tests.unit.services.test_gateway import Counting

HOPS = pytest.mark.parametrize("hop", ["api-gateway", "frontend"])


class Orchestrator:
    """The service behind the gateway: the body of a request says how it answers."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.ended = threading.Event()

    async def chat(self, request: Request) -> Response:
        """The token that arrived, nothing, or a stream."""
        asked = (await request.body()).decode()
        if asked == "nothing":
            return Response(status_code=204)
        if asked == "whole":
            return JSONResponse(request.headers["authorization"])
        length = {"content-length": "1000"} if asked == "broken whole" else None
        return StreamingResponse(self._parts("broken" in asked), 200, length, "text/event-stream")

    async def _parts(self, broken: bool) -> AsyncIterator[str]:
        try:
            yield "data: one\n\n"
            await anyio.to_thread.run_sync(self.go_on.wait, 10, abandon_on_cancel=True)
            if broken:
                raise RuntimeError("broke off")
            yield "data: two\n\n"
        finally:
            self.ended.set()


class Hop:
    """The gateway, or the frontend before it."""

    def __init__(self, url: str, telemetry: Telemetry, route: str) -> None:
        self.url = f"{url}/api/chat"
        self._value = telemetry.metrics.registry.get_sample_value
        self._route = {"method": "POST", "route": route}

    def requests(self, status: int) -> float | None:
        """http_requests_total."""
        return self._value("http_requests_total", {**self._route, "status": str(status)})

    def counted(self, status: int) -> None:
        """Wait until one request is counted with this status; the client has its answer a little earlier."""

        def ask() -> None:
            if self.requests(status) != 1:
                raise NotYet("it is not counted")

        poll_until(ask, f"a request counted as {status}", within=2, every=0.02)

    def seconds(self) -> float | None:
        """Sum of http_request_duration_seconds."""
        return self._value("http_request_duration_seconds_sum", self._route)

    def upstream(self, status: str) -> float | None:
        """upstream_requests_total."""
        return self._value("upstream_requests_total", {"upstream": "llm-orchestrator", "status": status})


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
def hops(make_telemetry: MakeTelemetry, tmp_path: Path, orchestrator: Orchestrator) -> Iterator[dict[str, Hop]]:
    (tmp_path / "secret").write_text("secret-of-a-test")
    with serving(make_telemetry().app([Route("/chat", orchestrator.chat, methods=["POST"])])) as behind:
        environ = {"UPSTREAM_" + name.upper().replace("-", "_"): behind for name in SERVICES}
        gateway = make_telemetry(WEBHOOK_SECRET_FILE=str(tmp_path / "secret"), **environ)
        gateway.redis = Counting  # type: ignore[method-assign]
        with serving(build_gateway(gateway)) as gateway_url:
            frontend = make_telemetry(UPSTREAM_API_GATEWAY=gateway_url)
            with serving(build_frontend(frontend)) as frontend_url:
                yield {
                    "api-gateway": Hop(gateway_url, gateway, "/api/chat"),
                    "frontend": Hop(frontend_url, frontend, "/api/{path:path}"),
                }


@HOPS
@pytest.mark.parametrize("value", ["Bearer abcdefgh", "Bearer schlüssel"])
def test_a_header_is_passed_on_byte_for_byte(hops: dict[str, Hop], hop: str, value: str) -> None:
    headers = [(b"authorization", value.encode("latin-1"))]
    answer = httpx.post(hops[hop].url, content="whole", headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()) == (200, value)
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("text", [b"Bearer x%sx", b"%sBearer x", b"Bearer x%s", b"%s"])
def test_a_header_is_passed_on_as_it_can_be_sent_and_refused_where_it_cannot(text: bytes) -> None:
    for byte in (bytes([number]) for number in range(256)):
        request = Request({"type": "http", "headers": [(b"authorization", text % byte), (b"other", b"\n")]})
        if byte in b"\0\n\v\f\r":
            with pytest.raises(HTTPException, match="authorization has a line break or a NUL") as refused:
                onward.headers(request, ["authorization"])
            assert refused.value.status_code == 400
        else:
            found = onward.headers(request, ["authorization"])
            assert found.raw == [(b"authorization", (text % byte).strip(b" \t"))]
            # It raises where it refuses to send.
            h11.Request(
                method="GET", target="/", headers=[(b"host", b"x"), *((name, value) for name, value in found.raw)]
            )


@HOPS
def test_an_answer_without_a_body_is_passed_on_as_one(hops: dict[str, Hop], hop: str) -> None:
    with httpx.Client(trust_env=False) as client:
        for _ in range(2):
            answer = client.post(hops[hop].url, content="nothing")
            assert (answer.status_code, answer.content) == (204, b"")
            assert "transfer-encoding" not in answer.headers


@HOPS
def test_a_stream_is_passed_on_as_it_arrives_and_lasts_until_its_end(
    hops: dict[str, Hop], orchestrator: Orchestrator, hop: str
) -> None:
    with httpx.stream("POST", hops[hop].url, content="stream", trust_env=False) as answer:
        parts = answer.iter_text()
        assert next(parts) == "data: one\n\n"
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-ratelimit-limit"] == "1200"
        assert hops["api-gateway"].upstream("200") is None
        assert hops[hop].requests(200) is None
        assert not orchestrator.ended.wait(0.3)
        orchestrator.go_on.set()
        assert "".join(parts) == "data: two\n\n"
    hops[hop].counted(200)
    hops["api-gateway"].counted(200)
    assert hops["api-gateway"].upstream("200") == 1
    assert (hops[hop].seconds() or 0) > 0.3


@HOPS
def test_a_stream_that_breaks_off_breaks_off_for_the_client_and_is_counted(
    hops: dict[str, Hop], orchestrator: Orchestrator, hop: str, log_lines: LogLines
) -> None:
    orchestrator.go_on.set()
    with httpx.stream("POST", hops[hop].url, content="broken stream", trust_env=False) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            answer.read()
    hops[hop].counted(502)
    assert hops["api-gateway"].upstream("dependency_unreachable") == 1
    assert hops["api-gateway"].upstream("200") is None
    failed = [line for line in log_lines() if line["message"] == "dependency failed"]
    assert failed[0]["dependency"] == "llm-orchestrator"
    assert (failed[0]["level"], "exception" in failed[0]) == ("error", False)


@HOPS
def test_an_answer_of_known_length_that_breaks_off_is_a_502(
    hops: dict[str, Hop], orchestrator: Orchestrator, hop: str
) -> None:
    orchestrator.go_on.set()
    answer = httpx.post(hops[hop].url, content="broken whole", trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "dependency_unreachable")
    hops[hop].counted(502)
    assert hops["api-gateway"].upstream("dependency_unreachable") == 1


@HOPS
def test_a_client_that_leaves_ends_the_request_behind(
    hops: dict[str, Hop], orchestrator: Orchestrator, hop: str
) -> None:
    with httpx.stream("POST", hops[hop].url, content="stream", trust_env=False) as answer:
        next(answer.iter_text())
    assert orchestrator.ended.wait(2)
    hops[hop].counted(499)
    hops["api-gateway"].counted(499)
    assert hops["api-gateway"].upstream("200") == 1
