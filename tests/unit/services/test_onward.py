"""What the gateway and the frontend pass on, between real sockets."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api_gateway.app import SERVICES
from api_gateway.app import build as build_gateway
from frontend.app import build as build_frontend
from tests.unit.services.helpers import MakeTelemetry
from tests.unit.services.servers import serving
from tests.unit.services.test_gateway import Counting


@pytest.fixture
def urls(make_telemetry: MakeTelemetry, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The services between a client and llm-orchestrator."""
    (tmp_path / "secret").write_text("secret-of-a-test")
    with serving(make_telemetry().app([Route("/chat", echo, methods=["POST"])])) as orchestrator:
        environ = {"UPSTREAM_" + name.upper().replace("-", "_"): orchestrator for name in SERVICES}
        gateway = make_telemetry(WEBHOOK_SECRET_FILE=str(tmp_path / "secret"), **environ)
        gateway.redis = Counting  # type: ignore[method-assign]
        with (
            serving(build_gateway(gateway)) as gateway_url,
            serving(build_frontend(make_telemetry(UPSTREAM_API_GATEWAY=gateway_url))) as frontend_url,
        ):
            yield {"api-gateway": gateway_url, "frontend": frontend_url}


async def echo(request: Request) -> Response:
    """The token that arrived."""
    return JSONResponse(request.headers["authorization"])


@pytest.mark.parametrize("service", ["api-gateway", "frontend"])
@pytest.mark.parametrize("value", ["Bearer abcdefgh", "Bearer schlüssel"])
def test_a_header_is_passed_on_byte_for_byte(urls: dict[str, str], service: str, value: str) -> None:
    headers = [(b"authorization", value.encode("latin-1"))]
    answer = httpx.post(f"{urls[service]}/api/chat", headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()) == (200, value)
