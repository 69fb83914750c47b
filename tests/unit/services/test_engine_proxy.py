import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from engine_proxy.__main__ import handler
from tests.unit.services.engine import Engine, container, proxied, serving


@pytest.fixture
def proxy() -> Iterator[tuple[Engine, int]]:
    with proxied() as found:
        yield found


def ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    """Status and JSON of an answer of the proxy; the path goes out as it is."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        read = answer.read()
        return answer.status, json.loads(read) if read else None
    finally:
        connection.close()


def test_the_list_holds_what_discovery_needs_and_nothing_else(proxy: tuple[Engine, int]) -> None:
    engine, port = proxy
    engine.containers = [container("billing-1")]
    status, found = ask(port, "GET", "/containers/json")
    assert status == 200
    assert found == [
        {
            "Id": engine.containers[0]["Id"],
            "Names": ["/billing-1"],
            "Created": 1795255200,
            "Labels": {"lookout.service": "billing", "lookout.port": "9400", "lookout.team": "payments"},
            "NetworkSettings": {"Networks": {"lookout_guests": None}},
        }
    ]


def test_the_engine_is_asked_for_running_labelled_containers_only(proxy: tuple[Engine, int]) -> None:
    engine, port = proxy
    ask(port, "GET", "/containers/json")
    (asked,) = engine.asked
    url = urlsplit(asked.removeprefix("GET "))
    assert url.path == "/containers/json"
    assert json.loads(parse_qs(url.query)["filters"][0]) == {"label": ["lookout.service"], "status": ["running"]}


REFUSED = [
    ("POST", "/containers/create"),
    ("POST", "/containers/json"),
    ("GET", "/containers/abc/json"),
    ("GET", "/containers/abc/logs"),
    ("GET", "/containers/abc/archive?path=/etc/shadow"),
    ("GET", "/images/json"),
    ("GET", "/info"),
    ("GET", "/_ping"),
    ("GET", "/"),
    ("GET", "/containers/json?all=1"),
    ("GET", "/containers/json/"),
    ("GET", "/containers/json/../abc/json"),
    ("GET", "/containers/json%2f..%2fabc%2fjson"),
    ("GET", "/containers/json#x"),
    ("GET", "/v1.41/containers/json"),
    ("GET", "http://engine/containers/json"),
    ("HEAD", "/containers/json"),
    ("DELETE", "/containers/abc"),
    ("PUT", "/containers/abc/archive?path=/"),
    ("OPTIONS", "*"),
    ("CONNECT", "engine:80"),
    ("BREW", "/containers/json"),
]


@pytest.mark.parametrize(("method", "path"), REFUSED)
def test_anything_else_is_refused_and_never_reaches_the_engine(
    proxy: tuple[Engine, int], method: str, path: str
) -> None:
    engine, port = proxy
    status, _ = ask(port, method, path, "{}" if method in ("POST", "PUT") else None)
    assert status == 403
    assert engine.asked == []


def test_a_second_request_cannot_hide_behind_the_first(proxy: tuple[Engine, int]) -> None:
    engine, port = proxy
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        hidden = b"POST /containers/create HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(b"GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n" + hidden)
        answered = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answered.count(b"HTTP/1.0 ") == 1
    assert len(engine.asked) == 1
    assert engine.asked[0].startswith("GET /containers/json?")


def test_an_engine_that_fails_is_told(proxy: tuple[Engine, int]) -> None:
    engine, port = proxy
    engine.status = 500
    assert ask(port, "GET", "/containers/json") == (
        502,
        {"message": "the engine cannot be asked: ValueError: the engine answered 500"},
    )


def test_a_missing_socket_is_told(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(str(tmp_path / "none"))) as server, serving(server):
        status, body = ask(server.server_address[1], "GET", "/containers/json")
    assert status == 502
    assert "FileNotFoundError" in body["message"]
