"""automation-services over HTTP, with a queue in memory and the simulators behind it."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from tempfile import NamedTemporaryFile
from typing import Any

import httpx
import pytest

from automation_services import app as module
from automation_services import tasks as tasks_module
from automation_services.digests import Digests, digest, every
from automation_services.jobs import Job
from automation_services.proofs import Refuted
from automation_services.reviews import Reviews
from automation_services.tasks import Tasks
from automation_services.work import WorkBroke, WorkFailed
from simulators.app import build as build_simulators
from telemetry import Settings, Telemetry, Unreachable
from tests.unit.services.helpers import ENVIRONMENT, MakeTelemetry
from tests.unit.services.memory_queue import MemoryQueue


class Memory(MemoryQueue):
    """A queue that also remembers for the digests."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {"file succeeded": 2}
        self.known: dict[str, dict[str, int]] = {}

    async def done(self) -> dict[str, int]:
        return dict(self.counts)

    async def told(self, channel: str) -> dict[str, int]:
        return self.known.get(channel, {})

    async def tell(self, channel: str, done: dict[str, int]) -> None:
        self.known[channel] = done


RARELY = {"DIGEST_SECONDS": "86400"}
"""The bot's own digest does not come into what is counted."""
Scenario = Callable[[httpx.AsyncClient, Memory], Awaitable[None]]


def outside() -> httpx.AsyncClient:
    """The simulators, as the client of a dependency."""
    with NamedTemporaryFile("w") as key:
        key.write("key-of-a-test")
        key.flush()
        keys = {"PROVIDER_API_KEY_FILE": key.name, "AIRTABLE_TOKEN_FILE": key.name}
        simulators = build_simulators(Telemetry(Settings.load(ENVIRONMENT | keys)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(simulators), base_url="http://simulators")


def serve(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, scenario: Scenario) -> None:
    """Run the service, start and shutdown included, while the scenario asks it."""
    memory = Memory()
    monkeypatch.setattr(module, "Streams", lambda _store, _dropped: memory)
    monkeypatch.setattr(telemetry, "redis", lambda: None)
    monkeypatch.setattr(telemetry, "client", lambda _name: outside())
    app = module.build(telemetry)

    async def run() -> None:
        async with (
            telemetry.running(),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
        ):
            await scenario(client, memory)

    asyncio.run(run())


FINE: list[tuple[str, dict[str, Any]]] = [
    ("/jobs", {"kind": "file", "name": "a.csv", "content": "a,b\n1,2\n"}),
    ("/jobs", {"kind": "workflow", "name": "fulfilment", "content": "book"}),
    ("/jobs", {"kind": "review", "name": "push", "content": "fine"}),
    ("/upgrades", {"manifest": "requirements.txt", "content": "flask==3.0.3\n"}),
    ("/upgrades", {"manifest": "go.mod", "repository": "o/.r..s", "ref": "main", "path": "..cmd/go.mod"}),
    ("/proofs", {"claim": "tautology", "formula": "p | !p"}),
    ("/digests", {"channel": "team"}),
]
FAILING: list[tuple[str, dict[str, Any]]] = [
    ("/jobs", {"kind": "file", "name": "a.json", "content": "{"}),
    ("/jobs", {"kind": "workflow", "name": "fulfilment", "content": "unshippable"}),
    ("/upgrades", {"manifest": "package.json", "content": "{"}),
    ("/proofs", {"claim": "tautology", "formula": "p"}),
    ("/proofs", {"claim": "merkle", "leaf": "a", "root": "0" * 64, "path": []}),
    ("/digests", {"channel": "archived"}),
]
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("/jobs", {"kind": "upgrade", "name": "a", "content": ""}),
    ("/jobs", {"kind": "workflow", "name": "invented", "content": ""}),
    ("/jobs", {"kind": "file", "name": "a", "content": "x" * 32_001}),
    ("/jobs", {"kind": "file", "name": "a", "content": "\u00a0" * 25_000}),
    ("/jobs", {"kind": "file", "name": "a", "content": "\x01" * 10_000}),
    ("/upgrades", {"manifest": "go.mod", "content": "\u00a0" * 25_000}),
    ("/proofs", {"claim": "tautology", "formula": "\u00a0" * 25_000}),
    ("/jobs", {"kind": "file", "name": "a", "content": "", "id": "short"}),
    ("/upgrades", {"manifest": "Cargo.toml", "content": ""}),
    ("/upgrades", {"manifest": "go.mod", "content": "", "across_majors": 1}),
    ("/upgrades", {"manifest": "go.mod", "repository": "o/r/../s", "ref": "main", "path": "go.mod"}),
    ("/upgrades", {"manifest": "go.mod", "repository": "o/..", "ref": "main", "path": "go.mod"}),
    ("/upgrades", {"manifest": "go.mod", "repository": "o/.", "ref": "main", "path": "go.mod"}),
    ("/upgrades", {"manifest": "go.mod", "repository": "o/r", "ref": "main", "path": "../go.mod"}),
    ("/upgrades", {"manifest": "go.mod", "repository": "o/r", "ref": "main", "path": "cmd/./go.mod"}),
    ("/proofs", {"claim": "divination", "formula": "p"}),
    ("/digests", {"channel": "invented"}),
]


@pytest.mark.parametrize(
    ("cases", "status", "waited"),
    [(FINE, 202, 201), (FAILING, 202, 422), (WRONG, 400, 400)],
    ids=["fine", "failing", "wrong"],
)
def test_a_request_is_accepted_and_then_answered_by_how_its_job_ends(
    make_telemetry: MakeTelemetry,
    monkeypatch: pytest.MonkeyPatch,
    cases: list[tuple[str, dict[str, Any]]],
    status: int,
    waited: int,
) -> None:
    async def scenario(client: httpx.AsyncClient, memory: Memory) -> None:
        for path, body in cases:
            answer = await client.post(path, json=body)
            assert answer.status_code == status, (path, body, answer.text)
            if status == 202:
                assert (await client.get(f"/jobs/{answer.json()['id']}")).json()["state"] in (
                    "queued",
                    "succeeded",
                    "failed",
                )
            assert (await client.post(f"{path}?wait=1", json=body)).status_code == waited, (path, body)
        assert len(memory.states) == (0 if status == 400 else 2 * len(cases))

    serve(make_telemetry(**RARELY), monkeypatch, scenario)


def test_jobs_are_measured_by_what_they_do(make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(client: httpx.AsyncClient, _memory: Memory) -> None:
        for path, body in FINE + FAILING:
            await client.post(f"{path}?wait=1", json=body)

    telemetry = make_telemetry(**RARELY)
    serve(telemetry, monkeypatch, scenario)

    def value(name: str, **labels: str) -> float | None:
        return telemetry.metrics.registry.get_sample_value(name, labels)

    assert value("files_processed_total", kind="csv", status="success") == 1
    assert value("files_processed_total", kind="json", status="failure") == 1
    assert value("workflow_runs_total", workflow="fulfilment", status="success") == 1
    assert value("workflow_runs_total", workflow="fulfilment", status="failure") == 1
    assert value("upgrades_total", ecosystem="pypi", status="success") == 1
    assert value("upgrades_total", ecosystem="go", status="success") == 1
    assert value("upgrades_total", ecosystem="npm", status="failure") == 1
    assert value("upgrade_duration_seconds_count", ecosystem="go") == 1
    assert value("patch_quality_score_count", ecosystem="pypi") == 1
    assert value("patch_quality_score_sum", ecosystem="pypi") == pytest.approx(0.94)
    assert value("proofs_total", status="verified") == 1
    assert value("proofs_total", status="refuted") == 2
    assert value("proof_latency_seconds_count", complexity="low") == 3
    assert value("reviews_total", status="clean") == 1
    assert value("digests_delivered_total", channel="team") == 1
    assert value("digests_delivered_total", channel="archived") == 0
    assert value("worker_jobs_total", queue="proofs", status="failed") == 2


def test_a_proof_that_is_broken_off_or_breaks_counts_as_no_outcome(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry, over = make_telemetry(), threading.Event()

    def prove(_claim: str, formula: str) -> None:
        assert over.wait(10)
        raise RuntimeError("a bug") if formula == "broken" else Refuted("not always true")

    monkeypatch.setattr(tasks_module, "prove", prove)

    async def run() -> list[Any]:
        tasks = handlers(telemetry, Memory(), outside())
        proofs = [
            asyncio.create_task(tasks.proof(Job(formula, "proof", "tautology", formula, 0, {})))
            for formula in ("cancelled", "broken")
        ]
        await asyncio.sleep(0)
        proofs[0].cancel()
        over.set()
        return await asyncio.gather(*proofs, return_exceptions=True)

    assert [type(end) for end in asyncio.run(run())] == [asyncio.CancelledError, RuntimeError]
    value = telemetry.metrics.registry.get_sample_value
    assert {status: value("proofs_total", {"status": status}) for status in ("verified", "refuted", "invalid")} == {
        "verified": 0,
        "refuted": 0,
        "invalid": 0,
    }


def test_a_job_sent_twice_under_one_id_is_done_once(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"kind": "workflow", "name": "fulfilment", "content": "book", "id": "order-1234"}

    async def scenario(client: httpx.AsyncClient, memory: Memory) -> None:
        first = await client.post("/jobs?wait=1", json=body)
        second = await client.post("/jobs?wait=1", json=body)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        assert list(memory.states) == ["order-1234"]
        assert (await client.delete("/jobs/order-1234")).json()["state"] == "cancelled"
        assert (await client.post("/jobs?wait=1", json=body)).status_code == 422
        assert (await client.delete("/jobs/unknown-1")).status_code == 404

    serve(make_telemetry(**RARELY), monkeypatch, scenario)


def test_only_wait_1_waits(make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(client: httpx.AsyncClient, _memory: Memory) -> None:
        answers = [await client.post(f"/jobs?wait={wait}", json=FINE[0][1]) for wait in ("1", "0", "")]
        assert [answer.status_code for answer in answers] == [201, 202, 202]

    serve(make_telemetry(**RARELY), monkeypatch, scenario)


def test_a_job_that_failed_is_answered_with_its_id_and_what_shows_why(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(client: httpx.AsyncClient, _memory: Memory) -> None:
        answer = await client.post("/proofs?wait=1", json={"claim": "tautology", "formula": "p | q"})
        body = answer.json()
        assert answer.status_code == 422
        assert body["error"]["message"] == "the formula is not always true"
        assert body["result"]["counterexample"] == {"p": False, "q": False}
        assert (await client.get(f"/jobs/{body['id']}")).json() == {k: body[k] for k in ("id", "state", "result")}

    serve(make_telemetry(**RARELY), monkeypatch, scenario)


def test_a_patch_that_is_too_long_for_a_result_fails_its_job(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"manifest": "requirements.txt", "content": "flask==2.2.5  # " + "\u00a0" * 10_000}

    async def scenario(client: httpx.AsyncClient, _memory: Memory) -> None:
        answer = await client.post("/upgrades?wait=1", json=body)
        assert answer.status_code == 422
        assert answer.json()["result"] == {"reason": "the result is longer than 16000 bytes"}

    serve(make_telemetry(**RARELY), monkeypatch, scenario)


def test_a_full_queue_answers_503_and_when_to_come_again(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(client: httpx.AsyncClient, memory: Memory) -> None:
        memory.most = 0
        answer = await client.post("/jobs", json=FINE[0][1])
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"

    serve(make_telemetry(**RARELY), monkeypatch, scenario)


def test_a_job_whose_result_was_dropped_is_gone_and_its_state_is_told(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {**FINE[0][1], "id": "file-1234"}

    async def scenario(client: httpx.AsyncClient, memory: Memory) -> None:
        await client.post("/jobs?wait=1", json=body)
        del memory.states["file-1234"]["result"]
        for answer in (await client.get("/jobs/file-1234"), await client.post("/jobs?wait=1", json=body)):
            assert answer.status_code == 410
            assert answer.json()["error"]["code"] == "result_dropped"
            assert (answer.json()["id"], answer.json()["state"]) == ("file-1234", "succeeded")

    serve(make_telemetry(**RARELY), monkeypatch, scenario)


def handlers(telemetry: Telemetry, memory: Memory, chat: httpx.AsyncClient) -> Tasks:
    return Tasks(telemetry, Reviews(telemetry), Digests(telemetry, memory, chat), chat)


def test_a_digest_tells_what_was_done_since_the_last_and_a_message_arrives_once(make_telemetry: MakeTelemetry) -> None:
    async def run() -> None:
        memory, chat = Memory(), outside()
        tasks = handlers(make_telemetry(), memory, chat)
        await tasks.digest(Job("digest-1", "digest", "team", "", 0, {}))
        await tasks.digest(Job("digest-1", "digest", "team", "", 0, {}))
        memory.counts |= {"file succeeded": 3, "file failed": 1}
        await tasks.digest(Job("digest-2", "digest", "team", "", 0, {}))
        messages = (await chat.get("/v0/chat/team")).json()["messages"]
        assert messages == [
            {"id": "digest-1", "text": "file: 2 succeeded"},
            {"id": "digest-2", "text": "file: 1 failed, 1 succeeded"},
        ]

    asyncio.run(run())


def test_a_channel_that_refuses_fails_a_digest_and_one_that_breaks_is_tried_again(
    make_telemetry: MakeTelemetry,
) -> None:
    async def run() -> None:
        tasks = handlers(make_telemetry(), Memory(), outside())
        with pytest.raises(WorkFailed, match="refuses archived: 403"):
            await tasks.digest(Job("digest-1", "digest", "archived", "", 0, {}))
        with pytest.raises(WorkBroke, match="answered 500"):
            await tasks.digest(Job("digest-1", "digest", "unavailable", "", 0, {}))

    asyncio.run(run())


def test_a_manifest_that_the_repository_does_not_have_fails_the_upgrade(make_telemetry: MakeTelemetry) -> None:
    wanted = json.dumps({"repository": "o/r", "ref": "main", "path": "setup.cfg"})

    async def run() -> None:
        tasks = handlers(make_telemetry(), Memory(), outside())
        with pytest.raises(WorkFailed, match="answered 404"):
            await tasks.upgrade(Job("upgrade-1", "upgrade", "go.mod", wanted, 0, {}))

    asyncio.run(run())


def test_a_digest_of_nothing_says_so() -> None:
    assert digest({"file succeeded": 0}) == "Nothing was done."


def test_a_digest_is_queued_in_each_period_under_its_own_id() -> None:
    queued: list[str] = []

    async def submit(kind: str, channel: str, _content: str, job: str) -> None:
        assert (kind, channel) == ("digest", "team")
        queued.append(job)
        if len(queued) == 1:
            raise Unreachable("redis", "refused")

    async def run() -> None:
        async with asyncio.timeout(1):
            await every(0.05, submit)

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert len(set(queued)) == len(queued) > 2
