"""The simulated providers and Airtable behave as the documents of the real ones say."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from simulators.airtable import Airtable
from simulators.app import build
from simulators.budget import Budget
from tests.unit.services.helpers import Browser, MakeTelemetry

KEY = "key-of-a-test"
BEARER = {"authorization": f"Bearer {KEY}"}
CLAUDE = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
PATHS = {
    "mistral": "/mistral/v1/chat/completions",
    "kimi": "/kimi/v1/chat/completions",
    "glm": "/glm/api/paas/v4/chat/completions",
    "claude": "/claude/v1/messages",
}


@pytest.fixture
def browser(make_telemetry: MakeTelemetry, tmp_path: Path) -> Browser:
    (tmp_path / "key").write_text(KEY)
    key = str(tmp_path / "key")
    return Browser(build(make_telemetry(PROVIDER_API_KEY_FILE=key, AIRTABLE_TOKEN_FILE=key, TRAFFIC_SEED="1")))


def asked(model: str = "any", **more: Any) -> dict[str, Any]:
    """Body of a request."""
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "one two three"}], **more}


def test_a_window_of_a_minute_slides() -> None:
    now = 0.0
    budget = Budget(2, 100, lambda: now)
    assert budget.spend(60) == 0
    now = 10.0
    assert budget.spend(60) == 50
    assert budget.spend(40) == 0
    assert (budget.requests_left, budget.tokens_left) == (0, 0)
    now = 61.0
    assert budget.spend(60) == 0
    assert budget.seconds_to_reset() == 60


@pytest.mark.parametrize(
    ("provider", "model", "status", "kind"),
    [
        ("mistral", "throttled", 429, ("type", "rate_limited")),
        ("kimi", "throttled", 429, ("error", "type", "rate_limit_reached_error")),
        ("glm", "throttled", 429, ("error", "code", "1302")),
        ("claude", "throttled", 429, ("error", "type", "rate_limit_error")),
        ("mistral", "unavailable", 500, ("type", "internal_server_error")),
        ("kimi", "overloaded", 429, ("error", "type", "engine_overloaded_error")),
        ("glm", "overloaded", 429, ("error", "code", "1305")),
        ("claude", "overloaded", 529, ("error", "type", "overloaded_error")),
    ],
)
def test_each_provider_fails_in_its_own_way(
    browser: Browser, provider: str, model: str, status: int, kind: tuple[str, ...]
) -> None:
    answer = browser.post(PATHS[provider], json=asked(model), headers={**BEARER, **CLAUDE})
    assert answer.status_code == status
    found = answer.json()
    for key in kind[:-1]:
        found = found[key]
    assert found == kind[-1]
    assert ("retry-after" in answer.headers) == (model == "throttled")


@pytest.mark.parametrize("provider", sorted(PATHS))
def test_a_provider_answers_only_to_its_key(browser: Browser, provider: str) -> None:
    wrong = {"authorization": "Bearer wrong", "x-api-key": "wrong", "anthropic-version": "2023-06-01"}
    assert browser.post(PATHS[provider], json=asked(), headers=wrong).status_code == 401
    assert browser.post(PATHS[provider], json=asked()).status_code == 401


def test_claude_requires_a_version_and_a_bound(browser: Browser) -> None:
    answer = browser.post(PATHS["claude"], json=asked(), headers={"x-api-key": KEY})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    unbound = {key: value for key, value in asked().items() if key != "max_tokens"}
    assert browser.post(PATHS["claude"], json=unbound, headers=CLAUDE).status_code == 400


def test_claude_streams_named_events_in_the_documented_order(browser: Browser) -> None:
    text = browser.post(PATHS["claude"], json=asked(stream=True), headers=CLAUDE).text
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert names == [
        "message_start", "content_block_start", "ping", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    data = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert [one["type"] for one in data] == names


@pytest.mark.parametrize(("provider", "inside"), [("mistral", False), ("glm", False), ("kimi", True)])
def test_the_usage_of_a_stream_is_where_each_provider_puts_it(browser: Browser, provider: str, inside: bool) -> None:
    lines = browser.post(PATHS[provider], json=asked(stream=True), headers=BEARER).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    last = json.loads(lines[-3].removeprefix("data: "))
    usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert last["choices"][0].get("usage") == (usage if inside else None)
    assert last.get("usage") == (None if inside else usage)


@pytest.mark.parametrize("body", [{}, {"model": "x"}, asked(messages=[]), asked(messages=[1]), asked(max_tokens=0)])
def test_a_wrong_request_is_refused_in_the_provider_s_shape(browser: Browser, body: dict[str, Any]) -> None:
    answer = browser.post(PATHS["mistral"], json=body, headers=BEARER)
    assert (answer.status_code, answer.json()["object"]) == (400, "error")


def test_an_answer_is_cut_at_the_bound(browser: Browser) -> None:
    answer = browser.post(PATHS["glm"], json=asked(max_tokens=2), headers=BEARER).json()
    assert answer["choices"][0]["message"]["content"] == "three two"
    assert answer["usage"]["completion_tokens"] == 2


class Base:
    """Airtable with a clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        airtable = Airtable(KEY, 5, 30.0, lambda: self.now)
        path = "/v0/{base}/{table}"
        self._browser = Browser(
            Starlette(
                routes=[
                    Route(path, airtable.around(airtable.list_records), methods=["GET"]),
                    Route(path, airtable.around(airtable.create), methods=["POST"]),
                    Route(path + "/{record}", airtable.around(airtable.delete), methods=["DELETE"]),
                ]
            )
        )

    def ask(self, method: str = "GET", path: str = "/v0/base/table", headers: Any = BEARER, **options: Any) -> Any:
        """One request; the next one comes a second later."""
        answer = self._browser.request(method, path, headers=headers, **options)
        self.now += 1
        return answer

    def burst(self, count: int, path: str = "/v0/base/table") -> list[int]:
        """Requests all at the same time."""
        return [self._browser.get(path, headers=BEARER).status_code for _ in range(count)]


def test_the_sixth_request_of_a_second_is_refused_and_all_others_for_thirty_seconds() -> None:
    base = Base()
    assert base.burst(6) == [200] * 5 + [429]
    refused = base.ask()
    assert refused.json()["errors"][0]["error"] == "RATE_LIMIT_REACHED"
    assert refused.headers["retry-after"] == "30"
    base.now = 29.0
    assert base.burst(1) == [429]
    assert base.burst(1, "/v0/other/table") == [200]
    base.now = 30.0
    assert base.burst(5) == [200] * 5


def test_records_come_in_pages() -> None:
    base = Base()
    for start in range(0, 25, 10):
        records = [{"fields": {"n": n}} for n in range(start, min(start + 10, 25))]
        assert base.ask("POST", json={"records": records}).status_code == 200
    found: list[int] = []
    query = {"pageSize": "10"}
    while True:
        page = base.ask(params=query).json()
        found += [record["fields"]["n"] for record in page["records"]]
        if "offset" not in page:
            break
        query["offset"] = page["offset"]
    assert found == list(range(25))


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        ("", [0, 1, 2, 3]),
        ('{name}="a"', [0, 2]),
        ('{name} = "a"', [0, 2]),
        ('{name}="A"', []),
        ('{name}=""', [3]),
        (r'{name}="\"\\"', [1]),
        ('{n}="0"', []),
    ],
)
def test_records_are_filtered_by_a_formula_before_they_come_in_pages(formula: str, found: list[int]) -> None:
    base = Base()
    records = [{"fields": {"n": n, "name": name}} for n, name in enumerate(["a", '"\\', "a"])]
    base.ask("POST", json={"records": [*records, {"fields": {"n": 3}}]})
    query = {"pageSize": "1", "filterByFormula": formula}
    pages = [base.ask(params=query).json()]
    while "offset" in pages[-1]:
        pages.append(base.ask(params=query | {"offset": pages[-1]["offset"]}).json())
    assert [record["fields"]["n"] for page in pages for record in page["records"]] == found


@pytest.mark.parametrize(
    "formula", ["name", '{name}="a', '{name}="a"b"', r'{name}="a\"', r'{name}="\n"', '{}="a"', 'OR({name}="a", 1)']
)
def test_a_formula_that_airtable_or_its_simulator_does_not_know_is_refused(formula: str) -> None:
    answer = Base().ask(params={"filterByFormula": formula})
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "INVALID_FILTER_BY_FORMULA")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"fields": {}}, "INVALID_REQUEST_MISSING_FIELDS"),
        ({"records": [{"fields": {"n": n}} for n in range(11)]}, "INVALID_RECORDS"),
        ({"records": [{"fields": {"n": 1}}, {"fields": {"n": {}}}]}, "INVALID_VALUE_FOR_COLUMN"),
    ],
)
def test_a_wrong_record_is_refused_and_none_of_its_batch_is_kept(body: dict[str, Any], kind: str) -> None:
    base = Base()
    answer = base.ask("POST", json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, kind)
    assert base.ask().json() == {"records": []}


def test_airtable_tells_what_else_is_wrong() -> None:
    base = Base()
    assert base.ask(headers={}).json()["error"]["type"] == "AUTHENTICATION_REQUIRED"
    assert base.ask(params={"pageSize": "101"}).status_code == 422
    assert base.ask(params={"offset": "itr/none"}).json()["error"]["type"] == "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"
    assert base.ask("DELETE", "/v0/base/table/recNone").status_code == 404
    assert base.ask("POST", content=b"{").status_code == 422
    assert base.ask(path="/v0/base/unavailable").status_code == 503
    assert base.ask(path="/v0/base/throttled").headers["retry-after"] == "1"
