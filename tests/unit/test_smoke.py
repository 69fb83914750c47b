"""The smoke test believes a service only what it says of the request that was sent: its answers are played back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from lookout.engine import Compose
from lookout.model import load
from lookout.render import ROOT
from lookout.verify import smoke
from lookout.verify.servers import Live


class Played(Live):
    """A stack that has the log line and the trace of every request."""

    def logs(self, logql: str, since: float = 300, limit: int = 100) -> list[Any]:  # noqa: ARG002
        return ["a line"]

    def trace(self, trace_id: str) -> dict[str, set[str]]:  # noqa: ARG002
        return {service.name: {"GET unmatched"} for service in self.stack.services}


@pytest.mark.parametrize(
    ("counted", "exemplar", "why"),
    [
        (True, "its own", None),
        (True, "its own, of the second", None),
        (True, "another's", "no exemplar of its trace"),
        (True, None, "no exemplar of its trace"),
        (False, "its own", "not in http_requests_total"),
    ],
)
def test_a_request_is_counted_when_the_service_has_its_own_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counted: bool, exemplar: str | None, why: str | None
) -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/metrics":
            total = 7 + (counted and bool(sent))
            text = f'http_requests_total{{method="GET",route="unmatched",service="x",status="404"}} {total}.0\n'
            if sent and exemplar and "openmetrics" in request.headers["accept"]:
                its_own = exemplar == "its own" or (exemplar == "its own, of the second" and len(sent) == 2)
                trace_id = sent[0].split("-")[1] if its_own else "0" * 32
                text += 'http_request_duration_seconds_bucket{le="0.005",method="GET",route="unmatched",service="x"} '
                text += f'8.0 # {{trace_id="{trace_id}"}} 0.001 1790000000.0\n'
            return httpx.Response(200, text=text)
        if request.url.path == "/smoke-test":
            sent.append(request.headers["traceparent"])
            return httpx.Response(404)
        return httpx.Response(200)

    monkeypatch.setattr(smoke, "CLIENT", httpx.Client(transport=httpx.MockTransport(answer)))
    monkeypatch.setattr(smoke, "WITHIN_SECONDS", 0.4)
    monkeypatch.setattr(smoke, "verdicts", lambda *_: [])
    stack = load([ROOT / "stack.yaml"])
    live = Played(stack.model_copy(update={"services": stack.services[:1]}), tmp_path)

    tried = {question: reason for _, question, reason in smoke.smoke(live, Compose(tmp_path, "x"))}

    assert [question for question, reason in tried.items() if reason] == ([] if why is None else ["counted"])
    assert why is None or why in str(tried["counted"])
