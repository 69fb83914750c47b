"""The queue on a real Redis, which is killed now and then."""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable

import pytest

from automation_services import streams
from automation_services.controller import MAX_DELIVERIES, Controller
from automation_services.jobs import KINDS, Delivery, Job, JobTooLong, QueueFull
from automation_services.streams import MAX_SHARE, Dropped, Streams
from automation_services.work import WorkFailed
from telemetry import DependencyError, Telemetry, Unwritable
from tests.unit.services.helpers import MakeTelemetry
from tests.unit.services.redis_server import RedisServer

pytestmark = pytest.mark.integration

LET_GO = 0.1
MOST = 300
Scenario = Callable[[Callable[[str], Streams]], Awaitable[None]]


async def fill(queue: Streams, share: float) -> None:
    """Give Redis so much memory that what it uses is ``share`` of it."""
    memory = await queue._store.call("INFO", "memory")
    await queue._store.call("CONFIG", "SET", "maxmemory", round(memory["used_memory"] / share))


def job(kind: str = "file", name: str = "a.txt") -> Job:
    return Job(uuid.uuid4().hex, kind, name, "text", time.time(), {})


@pytest.fixture
def telemetry(redis_server: RedisServer, make_telemetry: MakeTelemetry) -> Telemetry:
    return make_telemetry(REDIS_URL=redis_server.url)


def on(telemetry: Telemetry, scenario: Scenario, dropped: Dropped = lambda _count: None) -> None:
    """Run a scenario with queues, each of a consumer that it names."""

    async def run() -> None:
        async with telemetry.redis() as store:
            await scenario(lambda consumer: Streams(store, dropped, consumer, LET_GO, max_waiting=MOST))

    asyncio.run(run())


async def done(queue: Streams, one: Job, result: str) -> None:
    """Have a job done with this result."""
    await queue.prepare(one.queue)
    assert await queue.put(one)
    assert await queue.finish(await taken(queue, one.queue), "succeeded", result) == "succeeded"


async def taken(queue: Streams, name: str = "files") -> Delivery:
    found = await queue.take(name)
    assert found is not None
    return found


def test_a_job_is_queued_taken_and_ended_once(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue = queue_of("one")
        await queue.prepare("files")
        made = job()
        assert await queue.put(made)
        assert not await queue.put(made)
        assert await queue.depth("files") == 1
        delivery = await taken(queue)
        assert (delivery.job, delivery.count) == (made, 1)
        assert await queue.depth("files") == 0
        assert await queue.finish(delivery, "succeeded", {"records": 1}) == "succeeded"
        # The answer was lost and the worker asks again; another worker had it too.
        assert await queue.finish(delivery, "succeeded", {"records": 1}) == "succeeded"
        other = Delivery(made, delivery.entry, 2, "another")
        assert await queue.finish(other, "failed", None) == "duplicate"
        assert await queue.state(made.id) == {"id": made.id, "state": "succeeded", "result": {"records": 1}}
        assert await queue.done() == {"file succeeded": 1}
        assert await queue.state("unknown") is None

    on(telemetry, scenario)


def test_what_a_worker_had_in_hand_when_it_was_killed_is_delivered_again_at_its_start(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        await queue_of("one").prepare("files")
        made = job()
        await queue_of("one").put(made)
        await taken(queue_of("one"))
        reborn = queue_of("one")
        await reborn.prepare("files")
        again = await taken(reborn)
        assert (again.job, again.count) == (made, 2)

    on(telemetry, scenario)


def test_another_worker_takes_what_is_spoken_for_no_more(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        one, two = queue_of("one"), queue_of("two")
        await one.prepare("files")
        await one.put(job())
        delivery = await taken(one)
        for _ in range(4):
            await asyncio.sleep(LET_GO / 2)
            await one.beat([delivery])
        assert await two.take("files") is None
        await asyncio.sleep(LET_GO)
        assert (await taken(two)).job == delivery.job

    on(telemetry, scenario)


def test_a_job_that_is_handed_back_is_next_and_no_delivery_is_counted(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        one = queue_of("one")
        await one.prepare("files")
        first = job()
        await one.put(first)
        await one.put(job())
        await one.hand_back(await taken(one))
        assert await one.depth("files") == 2
        again = await taken(queue_of("two"))
        assert (again.job, again.count) == (first, 1)

    on(telemetry, scenario)


def test_a_cancelled_job_stays_cancelled_and_a_result_can_be_withdrawn(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue = queue_of("one")
        await queue.prepare("files")
        waits, is_done = job(), job()
        await queue.put(waits)
        await queue.put(is_done)
        assert await queue.cancel(waits.id)
        assert await queue.finish(await taken(queue), "succeeded", 1) == "cancelled"
        assert await queue.finish(await taken(queue), "succeeded", 1) == "succeeded"
        assert await queue.cancel(is_done.id)
        assert await queue.state(is_done.id) == {"id": is_done.id, "state": "cancelled", "result": None}
        assert not await queue.cancel("unknown")

    on(telemetry, scenario)


def test_a_full_queue_refuses(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "MOST", 3)

    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue = queue_of("one")
        await queue.prepare("files")
        for _ in range(3):
            await queue.put(job())
        with pytest.raises(QueueFull):
            await queue.put(job())

    on(telemetry, scenario)


def test_a_job_takes_the_bytes_that_its_letters_have(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue = queue_of("one")
        await queue.prepare("files")
        made = Job(uuid.uuid4().hex, "file", "a.txt", "\u00a0" * 10_000, time.time(), {})
        await queue.put(made)
        [(_, fields)] = await queue._store.call("XRANGE", "jobs:files", "-", "+")
        assert len(fields["job"].encode()) < 21_000
        assert (await taken(queue)).job == made
        with pytest.raises(JobTooLong):
            await queue.put(Job(uuid.uuid4().hex, "file", "a.txt", "\u00a0" * 20_000, time.time(), {}))

    on(telemetry, scenario)


def test_a_redis_that_fills_up_takes_no_more_jobs_and_those_in_it_end(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue = queue_of("one")
        await queue.prepare("files")
        await queue.prepare("orders")
        first, second = job(), job()
        await queue.put(first)
        await queue.put(second)

        await fill(queue, (MAX_SHARE + 1) / 2)
        with pytest.raises(QueueFull, match="no room"):
            await queue.put(job())
        assert await queue.put(job("fulfilment", "fulfilment"))
        await fill(queue, 2.0)
        with pytest.raises(QueueFull, match="no room"):
            await queue.put(job("fulfilment", "fulfilment"))
        with pytest.raises(Unwritable):
            await queue._store.call("EVAL", "return redis.call('SET', KEYS[1], 'text')", 1, "key")
        assert await queue.cancel(second.id)
        assert await queue.finish(await taken(queue), "succeeded", 1) == "succeeded"
        assert await queue.finish(await taken(queue), "succeeded", 1) == "cancelled"
        assert await queue.state(first.id) == {"id": first.id, "state": "succeeded", "result": 1}
        assert json.loads((await taken(queue, "orders")).job.stored())["kind"] == "fulfilment"
        await queue._store.call("CONFIG", "SET", "maxmemory", 0)
        assert await queue.put(job())

    on(telemetry, scenario)


def test_the_oldest_results_make_room_for_new_jobs_and_their_jobs_stay_known(telemetry: Telemetry) -> None:
    dropped: list[int] = []
    result = "x" * 15_000

    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue = queue_of("one")
        made = [job("fulfilment", "fulfilment"), *(job() for _ in range(100))]
        for one in made:
            await done(queue, one, result)
        order, first, *_, last = made
        await fill(queue, MAX_SHARE * 1.1)
        assert await queue.put(job("proof", "tautology"))
        assert await queue.state(first.id) == {"id": first.id, "state": "succeeded"}
        assert not await queue.put(first)
        for one in (order, last):
            assert await queue.state(one.id) == {"id": one.id, "state": "succeeded", "result": result}
        assert 0 < sum(dropped) < 100
        assert await queue._store.call("XLEN", "jobs:results") == 100 - sum(dropped)
        # Not even an order is refused where a result is left, though Redis is full.
        await fill(queue, 1.1)
        assert await queue.put(job("fulfilment", "fulfilment"))

    on(telemetry, scenario, dropped.append)


def test_results_that_would_not_make_room_enough_stay(telemetry: Telemetry) -> None:
    dropped: list[int] = []

    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue = queue_of("one")
        made = [job() for _ in range(30)]
        for one in made:
            await done(queue, one, "x" * 1000)
        await fill(queue, 2.0)
        for kind, name in (("file", "a.txt"), ("fulfilment", "fulfilment")):
            with pytest.raises(QueueFull, match="no room"):
                await queue.put(job(kind, name))
        assert [(await queue.state(one.id) or {}).get("result") for one in made] == ["x" * 1000] * len(made)

    on(telemetry, scenario, dropped.append)
    assert dropped == []


def test_a_result_under_an_id_of_before_the_hour_is_as_old_as_it_is(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = "x" * 15_000

    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue, again = queue_of("one"), job()
        monkeypatch.setattr(streams, "KEPT_SECONDS", 1)
        await done(queue, again, result)
        async with asyncio.timeout(10):
            while await queue.state(again.id):
                await asyncio.sleep(0.05)
        await done(queue, job(), result)
        monkeypatch.undo()
        others = [job() for _ in range(30)]
        for one in (*others, again):
            await done(queue, one, result)
        await fill(queue, MAX_SHARE * 1.05)
        assert await queue.put(job())
        assert await queue.state(others[0].id) == {"id": others[0].id, "state": "succeeded"}
        assert await queue.state(again.id) == {"id": again.id, "state": "succeeded", "result": result}

    on(telemetry, scenario)


def test_a_stream_that_was_deleted_is_made_again(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        assert await queue_of("one").take("files") is None
        await queue_of("one").put(job())
        assert await queue_of("one").take("files") is not None

    on(telemetry, scenario)


def test_an_entry_that_is_no_job_is_put_aside_and_the_next_is_delivered(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue, made = queue_of("one"), job()
        await queue.prepare("files")
        for garbage in ("{", "[1]", '{"id": "of another version"}'):
            await queue._store.call("XADD", "jobs:files", "*", "job", garbage)
        await queue._store.call("XADD", "jobs:files", "*", "other", "field")
        await queue.put(made)
        found = [await queue.take("files") for _ in range(5)]
        assert found[:4] == [None] * 4
        assert found[4] is not None
        assert found[4].job == made
        assert await queue._store.call("XLEN", "dead:files") == 4
        assert await queue.depth("files") == 0

    on(telemetry, scenario)


def test_a_job_that_kills_its_worker_each_time_ends_in_the_dead_letters(telemetry: Telemetry) -> None:
    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        made = job()
        await queue_of("one").prepare("files")
        await queue_of("one").put(made)
        for life in range(MAX_DELIVERIES):
            queue = queue_of("one")
            await queue.prepare("files")
            assert (await taken(queue)).count == life + 1
        controller = Controller(telemetry, queue_of("one"), {})
        task = asyncio.create_task(controller.run())
        assert (await controller.wait(made.id, 5) or {})["state"] == "dead"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    on(telemetry, scenario)
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "files", "status": "dead"}) == 1


def test_no_accepted_job_is_lost_when_redis_is_killed_under_load(
    telemetry: Telemetry, redis_server: RedisServer
) -> None:
    accepted: dict[str, bool] = {}

    async def handler(one: Job) -> str:
        if one.name == "bad":
            raise WorkFailed("bad")
        return one.id

    async def submit(controller: Controller, number: int) -> None:
        bad = number % 3 == 0
        try:
            made, _ = await controller.submit("file", "bad" if bad else "good", "x" * 100)
        except DependencyError:
            return
        accepted[made] = bad

    async def scenario(queue_of: Callable[[str], Streams]) -> None:
        queue = queue_of("one")
        controller = Controller(telemetry, queue, dict.fromkeys(KINDS, handler))
        task = asyncio.create_task(controller.run())
        try:
            for _ in range(2):
                async with asyncio.timeout(30):
                    before = len(accepted)
                    while len(accepted) == before:  # the circuit may be open still
                        await submit(controller, 1)
                        await asyncio.sleep(0.05)
                    before = len(accepted)
                    requests = asyncio.gather(*(submit(controller, number) for number in range(150)))
                    while len(accepted) == before:
                        await asyncio.sleep(0.01)
                redis_server.kill()
                await asyncio.to_thread(redis_server.start)
                await requests
            for made, bad in accepted.items():
                assert await until_ended(controller, made) == ("failed" if bad else "succeeded")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    on(telemetry, scenario)
    assert accepted
    value = telemetry.metrics.registry.get_sample_value
    counted = sum(
        value("worker_jobs_total", {"queue": "files", "status": status}) or 0 for status in ("succeeded", "failed")
    )
    assert counted >= len(accepted)


async def until_ended(controller: Controller, made: str) -> str:
    for _ in range(30):
        try:
            state = await controller.wait(made, 1)
        except DependencyError:
            await asyncio.sleep(0.5)
            continue
        assert state is not None, f"{made} is lost"
        if state["state"] != "queued":
            return str(state["state"])
    raise AssertionError(f"{made} has not ended")
