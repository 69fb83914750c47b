"""A service that somebody starts later is found, stays visible when it is gone, and is forgotten when told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lookout import cli, engine, project
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.integration.test_delivery import notified

pytestmark = pytest.mark.integration

PORT = 9400
FOUND_WITHIN = 30
"""Seconds from the start of a container to its target being up."""

MOVED_WITHIN = 75
"""As long, and until Prometheus has given up the series of the target that was there before."""

SERVER = f"""
import http.server
class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"invoices_total 7\\n" if self.path == "/metrics" else b"")
http.server.HTTPServer(("0.0.0.0", {PORT}), Metrics).serve_forever()
"""


class Stranger:
    """A container of somebody else's beside the stack, with the labels of a service."""

    def __init__(self, stack: Project) -> None:
        self.stack = stack
        self.service = f"billing-{time.time_ns() % 10**6}"
        self.container = f"{stack.stack.project}-{self.service}"

    def start(self, *options: str, **labels: str) -> None:
        """Starts it on the network for guests."""
        told = {"service": self.service, "port": str(PORT), "team": "payments", **labels}
        engine.run(
            "run", "--detach", "--init", "--name", self.container, "--read-only", "--cap-drop", "ALL",
            "--network", f"{self.stack.stack.project}_guests",
            *(word for name, value in told.items() for word in ("--label", f"lookout.{name}={value}")), *options,
            project.images_of(self.stack.folder)["services"].reference, "python", "-c", SERVER,
        )  # fmt: skip

    def remove(self) -> None:
        """Removes it, where it is there."""
        engine.run("rm", "--force", self.container, check=False)

    def forget(self) -> int:
        """Exit code of `lookout forget`."""
        return cli.main(["--project", str(self.stack.folder), "forget", self.service])

    def up(self, wanted: str) -> None:
        """Raises NotYet until `up` of its target has a value."""
        found = self.stack.live.query(f'up{{service="{self.service}"}}')
        values = [(result["metric"]["job"], result["value"][1]) for result in found]
        if values != [("services", wanted)]:
            raise NotYet(f"up is {values}")

    def metric(self, name: str) -> float:
        """A metric of the discoverer, as Prometheus has it."""
        return sum(float(result["value"][1]) for result in self.stack.live.query(name))


@pytest.fixture
def stranger(stack: Project) -> Iterator[Stranger]:
    made = Stranger(stack)
    try:
        yield made
    finally:
        made.remove()
        made.forget()


def test_a_service_started_later_is_found_stays_visible_when_gone_and_is_forgotten_when_told(
    stack: Project, stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    before = stack.compose.containers()["prometheus"]["State"]["StartedAt"]
    stranger.start()
    started = time.monotonic()
    poll_until(lambda: stranger.up("1"), "its target up", FOUND_WITHIN)
    print(f"found and scraped after {time.monotonic() - started:.1f} s")
    (scraped,) = stack.live.query(f'invoices_total{{service="{stranger.service}"}}')
    assert scraped["metric"]["team"] == "payments"
    assert scraped["metric"]["tier"] == "standard"
    assert stranger.forget() == 1
    assert f"{stranger.container} still runs" in capsys.readouterr().err

    def watched() -> None:
        (found,) = stack.live.query(f'count_over_time(up{{service="{stranger.service}"}}[1m])')
        if int(found["value"][1]) < 3:
            raise NotYet(f"scraped {found['value'][1]} times")

    poll_until(watched, "scraped for a while", 75, every=2)
    killed = time.time()
    stranger.remove()
    poll_until(lambda: stranger.up("0"), "its target down", 60)
    down = poll_until(
        lambda: notified(stack, killed, alertname="ServiceDown", service=stranger.service, status="firing"),
        "ServiceDown",
        90,
    )
    assert down["labels"]["team"] == "payments"
    assert cli.main(["--project", str(stack.folder), "status"]) == 0, "a stranger is required by nothing"
    assert f"discovered: {stranger.service} (" in capsys.readouterr().out

    assert stranger.forget() == 0

    def gone() -> None:
        if any(target["labels"].get("service") == stranger.service for target in stack.live.targets()):
            raise NotYet("it is still a target")

    poll_until(gone, "its target gone", 30)
    poll_until(
        lambda: notified(stack, killed, alertname="ServiceDown", service=stranger.service, status="resolved"),
        "its end",
        90,
    )
    assert stack.compose.containers()["prometheus"]["State"]["StartedAt"] == before


def test_a_successor_with_another_name_takes_over_the_target(stack: Project, stranger: Stranger) -> None:
    first = stranger.container
    stranger.start()
    poll_until(lambda: stranger.up("1"), "its target up", FOUND_WITHIN)
    stranger.remove()
    stranger.container = f"{first}-2"
    stranger.start()

    def moved() -> None:
        targets = [target for target in stack.live.targets() if target["labels"].get("service") == stranger.service]
        if [target["scrapeUrl"] for target in targets] != [f"http://{stranger.container}:{PORT}/metrics"]:
            raise NotYet(f"the targets are {[target['scrapeUrl'] for target in targets]}")
        stranger.up("1")

    poll_until(moved, "the successor's target up", MOVED_WITHIN)


@pytest.mark.parametrize(
    ("labels", "reason"), [({"port": "none"}, "malformed"), ({"service": "frontend"}, "known")], ids=str
)
def test_a_container_that_may_be_no_target_is_told_in_the_log_and_counted(
    stack: Project, stranger: Stranger, labels: dict[str, str], reason: str
) -> None:
    stranger.start(**labels)

    def told() -> dict[str, Any]:
        lines = stack.live.logs(f'{{project="{stack.stack.project}", service="discoverer"}} |= `{stranger.container}`')
        if not lines:
            raise NotYet("no line of the discoverer names the container")
        return dict(json.loads(lines[0][1]))

    assert poll_until(told, "a line that names it", FOUND_WITHIN)["reason"] == reason

    def counted() -> None:
        if not stranger.metric(f'discovery_errors_total{{service="discoverer", reason="{reason}"}}'):
            raise NotYet("not counted yet")

    poll_until(counted, "its refusal counted", FOUND_WITHIN)
    hosts = [target["scrapeUrl"] for target in stack.live.targets()]
    assert not [url for url in hosts if stranger.container in url]


ASK = """
import http.client, sys
proxy = http.client.HTTPConnection("engine-proxy", int(sys.argv[1]), timeout=5)
proxy.request(sys.argv[2], sys.argv[3], body=sys.argv[4])
answer = proxy.getresponse()
print(answer.status, answer.read().decode())
"""


def asked(stack: Project, method: str, path: str, body: str = "") -> tuple[int, str]:
    """What the proxy answers to the container of the discoverer, the only one that reaches it."""
    port = str(stack.stack.port_of("engine-proxy"))
    done = stack.compose("exec", "-T", "discoverer", "python", "-c", ASK, port, method, path, body)
    status, _, text = done.stdout.strip().partition(" ")
    return int(status), text


def test_the_proxy_refuses_everything_but_the_list(stack: Project) -> None:
    itself = stack.compose.containers()["engine-proxy"]["Id"]
    image = project.images_of(stack.folder)["services"].reference
    refused = [
        ("POST", "/containers/create", json.dumps({"Image": image})),
        ("GET", "/images/json", ""),
        ("GET", f"/containers/{itself}/json", ""),
        ("POST", f"/containers/{itself}/kill", ""),
        ("GET", "/containers/json?all=1", ""),
    ]
    assert [asked(stack, *one)[0] for one in refused] == [403] * len(refused)
    status, _ = asked(stack, "GET", "/containers/json")
    assert status == 200


def test_the_list_shows_strangers_without_their_environment(stack: Project, stranger: Stranger) -> None:
    stranger.start("--env", "PASSWORD=hunter2", "--label", "com.example.token=hunter2")
    _, text = asked(stack, "GET", "/containers/json")
    (found,) = [one for one in json.loads(text) if one["Names"] == [f"/{stranger.container}"]]
    assert set(found) == {"Id", "Names", "Created", "Labels", "NetworkSettings"}
    assert "hunter2" not in text


def test_nobody_but_the_discoverer_reaches_the_proxy(stack: Project) -> None:
    network = f"{stack.stack.project}_engine"
    on_it = {
        name
        for name, container in stack.compose.containers().items()
        if network in container["NetworkSettings"]["Networks"]
    }
    assert on_it == {"engine-proxy", "discoverer"}
    found = stack.compose("exec", "-T", "receiver", "python", "-c", ASK, "1", "GET", "/", "", check=False)
    assert found.returncode != 0
    assert "gaierror" in found.stderr
