"""Every query of docs/queries.md finds something on the running stack."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from lookout.project import Project
from lookout.render import ROOT
from lookout.verify.http import get_json
from lookout.verify.polling import NotYet, poll_until
from tests.integration.journeys import FAILING, JOURNEYS, kept_traceparent, travel
from tests.integration.test_sampling import SLOW

pytestmark = pytest.mark.integration

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUERIES = BLOCK.findall((ROOT / "docs" / "queries.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def asked(stack: Project) -> Project:
    """The stack, after requests of every kind that the queries ask for."""
    for _ in range(2):
        for journey in (*JOURNEYS, FAILING, SLOW):
            travel(stack, journey, {"traceparent": kept_traceparent()})
    return stack


def ask(stack: Project, language: str, query: str) -> list[Any]:
    """The results of a query of the last hour. Raises NotYet with the server's words where it is refused."""
    now = time.time()
    if language == "promql":
        return stack.live.query(query)
    if language == "logql":
        times = {"start": int((now - 3600) * 1e9), "end": int(now * 1e9), "step": 15, "limit": 20}
        answer = get_json(f"{stack.live.url('loki')}/loki/api/v1/query_range", {"query": query, **times}, timeout=20)
        return list(answer["data"]["result"])
    times = {"start": int(now - 3600), "end": int(now) + 5, "limit": 5}
    return list(get_json(f"{stack.live.url('tempo')}/api/search", {"q": query, **times}, timeout=20)["traces"])


@pytest.mark.parametrize(("language", "query"), QUERIES, ids=lambda text: " ".join(text.split())[:60])
def test_a_query_of_the_page_finds_something(asked: Project, language: str, query: str) -> None:
    if language == "traceql" and "tempo" not in asked.stack.running:
        pytest.skip("the trace store of this stack is not Tempo")

    def found() -> None:
        if not ask(asked, language, query):
            raise NotYet("no result")

    poll_until(found, " ".join(query.split()), within=90, every=2)


def test_the_page_has_queries_of_each_language() -> None:
    languages = [language for language, _ in QUERIES]
    assert set(languages) == {"promql", "logql", "traceql"}
    assert len(languages) >= 20
