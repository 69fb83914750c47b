"""Thresholds on quantiles can be reached: P95 above 30 s, from requests that took that long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lookout import cli
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until

pytestmark = pytest.mark.integration

SERVICE = "saga-orchestrator"
LIMIT_SECONDS = 30
EXPRESSION = (
    f"histogram_quantile(0.95, sum by (service, le) (rate(http_request_duration_seconds_bucket"
    f'{{service="{SERVICE}"}}[1m]))) > {LIMIT_SECONDS}'
)


def test_an_alert_on_requests_slower_than_30_s_can_fire(stack: Project) -> None:
    assert not stack.live.query(EXPRESSION)
    delay = ["--delay", str(LIMIT_SECONDS + 3), "--seconds", "90"]
    assert cli.main(["--project", str(stack.folder), "fault", SERVICE, "delay", *delay]) == 0
    try:
        url = f"{stack.live.url(SERVICE)}/sagas/unknown"
        with ThreadPoolExecutor(20) as pool:
            asked = [pool.submit(httpx.get, url, timeout=60) for _ in range(20)]
        took = sorted(one.result().elapsed.total_seconds() for one in asked)
        assert took[0] > LIMIT_SECONDS

        def fires() -> float:
            found = stack.live.query(EXPRESSION)
            if not found:
                raise NotYet("the expression has no result")
            return float(found[0]["value"][1])

        value = poll_until(fires, f"P95 above {LIMIT_SECONDS} s", within=60, every=1)
    finally:
        assert cli.main(["--project", str(stack.folder), "faults", "--clear", SERVICE]) == 0
    print(f"20 requests took {took[0]:.1f} to {took[-1]:.1f} s; P95 is {value:.1f} s")
    assert LIMIT_SECONDS < value <= 60
