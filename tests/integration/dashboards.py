"""What the dashboards ask, with Grafana's variables in place: of Grafana where it runs, else of its datasources."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import yaml

from lookout.model import Duration, load
from lookout.project import Project
from lookout.render import ROOT, render
from lookout.verify.polling import NotYet


@dataclass(frozen=True)
class Query:
    """One query of a panel."""

    panel: str
    target: dict[str, Any]
    """As Grafana keeps it, with the variables of its expression replaced."""
    step: float
    """Seconds between two points."""

    @property
    def name(self) -> str:
        """The panel, and which of its queries."""
        return f"{self.panel} ({self.target['refId']})"

    @property
    def source(self) -> str:
        """UID of its datasource, which is its type, too."""
        return str(self.target["datasource"]["uid"])


@dataclass
class Series:
    """Labels with what was found under them: numbers or lines, each with its Unix time."""

    labels: dict[str, str]
    points: list[tuple[float, float]] = field(default_factory=list)
    lines: list[tuple[float, str]] = field(default_factory=list)

    @property
    def last(self) -> float:
        """The last number, as a panel of one big number shows it."""
        return self.points[-1][1]


def as_with_grafana(stack: Project) -> dict[str, str]:
    """The rendered files as they are with Grafana, also on a machine where its image cannot be had."""
    full = load([ROOT / "stack.yaml"])
    model = stack.stack.model_copy(update={"servers": {**stack.stack.servers, "grafana": full.servers["grafana"]}})
    return dict(render(model))


def datasources(stack: Project) -> list[dict[str, Any]]:
    """The datasources that Grafana is given, with the dollars that it reads where two are written."""
    text = as_with_grafana(stack)["grafana/provisioning/datasources/lookout.yaml"].replace("$$", "$")
    return list(yaml.safe_load(text)["datasources"])


def dashboards(stack: Project) -> list[dict[str, Any]]:
    """All dashboards."""
    files = as_with_grafana(stack)
    return [json.loads(text) for path, text in files.items() if path.startswith("grafana/dashboards/")]


def queries(stack: Project, window: float = 60) -> list[Query]:
    """Every query of every panel; ``window`` is the least seconds of a rate."""
    return [
        query
        for dashboard in dashboards(stack)
        for panel in dashboard["panels"]
        for query in _of_panel(stack, panel, window)
    ]


def _of_panel(stack: Project, panel: dict[str, Any], window: float) -> Iterator[Query]:
    scrape = stack.stack.scrape.standard.interval
    for target in panel.get("targets", ()):
        step = Duration(target.get("interval") or panel.get("interval") or scrape).seconds
        # Grafana takes four times the distance of the samples, which a query names where it is not the usual one.
        rate = max(window, 4 * Duration(target.get("interval") or scrape).seconds)
        expression = target["expr"]
        for variable, value in (
            ("$service", "|".join(service.name for service in stack.stack.services)),
            ("$__interval", f"{step:.0f}s"),
            ("$__rate_interval", f"{rate:.0f}s"),
        ):
            expression = expression.replace(variable, value)
        assert "$" not in expression, f"{panel['title']}: a variable that this file does not know: {expression}"
        yield Query(panel["title"], {**target, "expr": expression}, step)


def request(query: Query, start: float, end: float) -> tuple[str, dict[str, str]]:
    """Path and parameters with which Grafana asks the server of a datasource."""
    expression = query.target["expr"]
    if query.target.get("instant"):
        return "/api/v1/query", {"query": expression, "time": f"{end:.3f}"}
    times = {"query": expression, "step": f"{query.step:.0f}"}
    if query.source == "loki":
        nanoseconds = {"start": f"{start * 1e9:.0f}", "end": f"{end * 1e9:.0f}"}
        return "/loki/api/v1/query_range", {**times, **nanoseconds, "limit": "1000", "direction": "backward"}
    return "/api/v1/query_range", {**times, "start": f"{start:.3f}", "end": f"{end:.3f}"}


def ask(stack: Project, query: Query, end: float | None = None, span: float = 300) -> list[Series]:
    """What a query finds in the seconds before ``end``, which is now. Raises NotYet where it is refused."""
    end = time.time() if end is None else end
    if "grafana" in stack.stack.running:
        found = _through_grafana(stack, query, end - span, end)
    else:
        path, parameters = request(query, end - span, end)
        found = series(_answer(query, partial(httpx.get, f"{stack.live.url(query.source)}{path}", params=parameters)))
    return [one for one in found if one.points or one.lines]


def _answer(query: Query, send: Any) -> Any:
    try:
        answer: httpx.Response = send(timeout=20)
    except httpx.HTTPError as error:
        raise NotYet(f"{query.name}: {type(error).__name__}: {error}") from error
    if answer.status_code != 200:
        raise NotYet(f"{query.name}: HTTP {answer.status_code}: {answer.text[:300]}")
    return answer.json()


def series(answer: Any) -> list[Series]:
    """What Prometheus or Loki answered."""
    kind, results = answer["data"]["resultType"], answer["data"]["result"]
    if kind == "streams":
        return [
            Series(found["stream"], lines=[(int(at) / 1e9, line) for at, line in found["values"]]) for found in results
        ]
    points = [(found["metric"], found["values"] if kind == "matrix" else [found["value"]]) for found in results]
    return [
        Series(labels, [(float(at), float(value)) for at, value in values if value != "NaN"])
        for labels, values in points
    ]


def _through_grafana(stack: Project, query: Query, start: float, end: float) -> list[Series]:
    asked = {**query.target, "intervalMs": int(query.step * 1000), "maxDataPoints": 1000}
    body = {"queries": [asked], "from": f"{start * 1000:.0f}", "to": f"{end * 1000:.0f}"}
    password = (stack.folder / "secrets" / "grafana_admin").read_text(encoding="utf-8")
    url = f"{stack.live.url('grafana')}/api/ds/query"
    answer = _answer(query, partial(httpx.post, url, json=body, auth=("admin", password)))
    frames = answer["results"][query.target["refId"]]["frames"]
    # Exemplars come beside the graph that they are dots on.
    graphs = [one for one in frames if one["schema"]["meta"].get("custom", {}).get("resultType") != "exemplar"]
    return [series for frame in graphs for series in _of_frame(frame)]


def _of_frame(frame: dict[str, Any]) -> list[Series]:
    """Series of a frame: a graph has its labels at the field of the numbers, a table has each in a column."""
    fields = frame["schema"]["fields"]
    fixed = {name: text for one in fields for name, text in one.get("labels", {}).items()}
    found: dict[str, Series] = {}
    for row in zip(*frame["data"]["values"], strict=True):
        cells = {one["name"]: (one["type"], cell) for one, cell in zip(fields, row, strict=True)}
        at = next(cell for kind, cell in cells.values() if kind == "time") / 1000
        texts = {name: cell for name, (kind, cell) in cells.items() if kind == "string"}
        line = texts.pop("Line", None)
        labels = fixed if line is not None else {**fixed, **texts}
        one = found.setdefault(json.dumps(labels, sort_keys=True), Series(labels))
        if line is not None:
            one.lines.append((at, line))
        one.points += [(at, float(cell)) for kind, cell in cells.values() if kind == "number" and cell is not None]
    return list(found.values())
