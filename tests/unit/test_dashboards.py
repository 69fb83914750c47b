"""Dashboards and datasources as rendered: fixed names, complete panels, nothing that asks an absent server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from lookout import dashboards, model, names, render
from lookout.model import Stack

DATASOURCES = "grafana/provisioning/datasources/lookout.yaml"
UIDS = {names.UID_PROMETHEUS, names.UID_LOKI, names.UID_TEMPO, names.UID_JAEGER, names.UID_ALERTMANAGER}
Dict = dict[str, Any]


@pytest.fixture(scope="module")
def stack() -> Stack:
    return model.load([render.ROOT / "stack.yaml"])


def without(stack: Stack, *servers: str) -> Stack:
    """The stack as it is where the images of some servers cannot be had."""
    left = {name: server for name, server in stack.servers.items() if name not in servers}
    return stack.model_copy(update={"servers": left})


def storing(stack: Stack, *stores: str) -> Stack:
    """The stack with these trace stores."""
    return stack.model_copy(update={"traces": stack.traces.model_copy(update={"stores": stores})})


def panels(dashboard: Dict) -> list[Dict]:
    """Panels that show data: all but the headings of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def titles(stack: Stack) -> set[str]:
    return {panel["title"] for panel in panels(dashboards.build(stack)["overview"])}


def provisioning(stack: Stack) -> Dict:
    loaded: Dict = yaml.safe_load(render.render(stack)[DATASOURCES])
    return loaded


def datasources(stack: Stack) -> dict[str, Dict]:
    """What Grafana makes of the datasource file, by UID: with its expansion of $NAME and of $$."""
    found = provisioning(stack)["datasources"]
    assert "$" not in json.dumps(found).replace("$$", ""), "Grafana would expand this as a variable of the environment"
    return {source["uid"]: json.loads(json.dumps(source).replace("$$", "$")) for source in found}


def references(value: Any) -> Iterator[str]:
    """UIDs of all datasources that are named anywhere below."""
    if isinstance(value, dict):
        if isinstance(value.get("datasource"), dict):
            yield value["datasource"]["uid"]
        if "datasourceUid" in value:
            yield value["datasourceUid"]
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from references(child)


def test_the_same_model_gives_the_same_bytes(stack: Stack) -> None:
    assert json.dumps(dashboards.build(stack)) == json.dumps(dashboards.build(stack))
    assert json.dumps(dashboards.build(stack)) == json.dumps(dashboards.build(stack), sort_keys=True)


def test_every_dashboard_has_the_uid_it_is_filed_under(stack: Stack) -> None:
    built = dashboards.build(stack)
    assert "overview" in built
    assert {uid: dashboard["uid"] for uid, dashboard in built.items()} == {uid: uid for uid in built}


def test_two_dashboards_of_one_uid_are_refused_with_both_files_named() -> None:
    def claiming(uid: str, file: str) -> ModuleType:
        module = ModuleType(file)
        module.__dict__.update(UID=uid, __file__=file)
        return module

    with pytest.raises(ValueError, match=r"one\.py and two\.py have the same UID 'mine'"):
        dashboards.by_uid([claiming("mine", "one.py"), claiming("other", "three.py"), claiming("mine", "two.py")])


def test_every_file_of_the_folder_is_a_dashboard_or_the_shared_builders(stack: Stack) -> None:
    files = {Path(file).stem for file in dashboards.FOLDER.glob("[!_]*.py")}
    assert len(dashboards.build(stack)) == len(files - {"panels"})


def test_dashboards_use_the_classic_schema(stack: Stack) -> None:
    for dashboard in dashboards.build(stack).values():
        assert "apiVersion" not in dashboard
        assert "spec" not in dashboard
        assert isinstance(dashboard["schemaVersion"], int)


def test_nobody_can_edit_a_dashboard_in_the_browser_and_lose_it(stack: Stack) -> None:
    assert not any(dashboard["editable"] for dashboard in dashboards.build(stack).values())


def test_every_panel_has_a_title_a_description_a_unit_and_a_query(stack: Stack) -> None:
    for dashboard in dashboards.build(stack).values():
        for panel in panels(dashboard):
            assert panel["title"]
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert all(target["expr"] for target in panel["targets"]), panel["title"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0, panel["title"]


def test_ids_of_panels_are_unique_and_stay_when_others_leave(stack: Stack) -> None:
    def ids(stack: Stack) -> dict[str, int]:
        return {panel["title"]: panel["id"] for panel in panels(dashboards.build(stack)["overview"])}

    full = ids(stack)
    assert len(set(full.values())) == len(full)
    assert ids(without(stack, "cadvisor", "loki")).items() <= full.items()


@pytest.mark.parametrize("absent", ["nothing", "cadvisor", "loki", "promtail", "grafana"])
def test_panels_stand_on_the_grid_without_overlap_or_gap(stack: Stack, absent: str) -> None:
    for dashboard in dashboards.build(without(stack, absent)).values():
        places = [panel["gridPos"] for panel in dashboard["panels"]]
        assert all(place["w"] > 0 and place["x"] + place["w"] <= 24 for place in places)
        for one, other in combinations(places, 2):
            beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert beside or above, (one, other)
        assert all(
            sum(place["w"] for place in places if place["y"] == y) == 24 for y in {place["y"] for place in places}
        )
        tops = {place["y"] for place in places}
        assert tops <= {0, *(place["y"] + place["h"] for place in places)}


@pytest.mark.parametrize("stores", [("tempo",), ("jaeger",), ("tempo", "jaeger")])
@pytest.mark.parametrize("absent", ["nothing", "loki", "cadvisor"])
def test_every_datasource_that_is_named_is_provisioned(stack: Stack, stores: tuple[str, ...], absent: str) -> None:
    stack = without(storing(stack, *stores), absent)
    found = datasources(stack)
    assert set(references(list(found.values()))) <= set(found)
    for dashboard in dashboards.build(stack).values():
        assert set(references(dashboard)) <= set(found)
        assert all(panel["datasource"]["uid"] in found for panel in panels(dashboard))


def test_the_uid_and_type_of_a_datasource_are_the_name_of_its_server(stack: Stack) -> None:
    stack = storing(stack, "tempo", "jaeger")
    found = datasources(stack)
    assert set(found) == UIDS
    for uid, source in found.items():
        assert source["type"] == uid
        assert source["url"] == f"http://{uid}:{stack.port_of(uid)}"


@pytest.mark.parametrize("server", ["loki", "tempo", "jaeger"])
def test_a_datasource_whose_server_is_left_out_is_deleted(stack: Stack, server: str) -> None:
    rest = without(storing(stack, "tempo", "jaeger"), server)
    assert set(datasources(rest)) == UIDS - {server}
    assert [source["name"].lower() for source in provisioning(rest)["deleteDatasources"]] == [server]


def test_nothing_is_deleted_where_every_server_runs(stack: Stack) -> None:
    assert not provisioning(storing(stack, "tempo", "jaeger"))["deleteDatasources"]


@pytest.mark.parametrize("stores", [("tempo",), ("jaeger",), ("tempo", "jaeger")])
def test_an_exemplar_leads_to_the_trace_and_a_trace_to_logs_and_metrics(stack: Stack, stores: tuple[str, ...]) -> None:
    found = datasources(storing(stack, *stores))
    exemplars = found["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert [(link["name"], link["datasourceUid"]) for link in exemplars] == [("trace_id", store) for store in stores]
    fields = found["loki"]["jsonData"]["derivedFields"]
    assert [(field["datasourceUid"], field["matcherType"]) for field in fields] == [
        (store, "label") for store in stores
    ]
    assert {(field["matcherRegex"], field["url"]) for field in fields} == {("^trace_id$", "${__value.raw}")}
    for store in stores:
        data = found[store]["jsonData"]
        assert data["nodeGraph"]["enabled"]
        assert data["tracesToLogsV2"]["datasourceUid"] == "loki"
        assert data["tracesToLogsV2"]["query"] == '{${__tags}} | trace_id="${__trace.traceId}"'
        assert data["tracesToMetrics"]["datasourceUid"] == "prometheus"
        # Grafana looks for exactly this text: `${__tags}` would stay as it is.
        assert all("{$__tags}" in query["query"] for query in data["tracesToMetrics"]["queries"])


def test_log_panels_leave_with_loki_and_with_promtail(stack: Stack) -> None:
    of_logs = {"Log lines by level", "Recent errors"}
    assert titles(without(stack, "loki")) == titles(without(stack, "promtail")) == titles(stack) - of_logs
    assert of_logs < titles(stack)


def test_container_panels_leave_with_cadvisor(stack: Stack) -> None:
    of_containers = {"Memory by container", "CPU by container"}
    assert titles(without(stack, "cadvisor")) == titles(stack) - of_containers
    assert of_containers < titles(stack)


def test_a_heading_leaves_with_the_last_panel_below_it(stack: Stack) -> None:
    rows = [
        panel["title"]
        for panel in dashboards.build(without(stack, "loki"))["overview"]["panels"]
        if panel["type"] == "row"
    ]
    assert rows == ["Now", "Traffic", "Latency", "Containers", "Targets"]


def test_a_variable_is_found_by_its_id_and_starts_with_all(stack: Stack) -> None:
    (service,) = dashboards.build(stack)["overview"]["templating"]["list"]
    assert service["id"] == service["name"] == "service"
    assert service["includeAll"]
    assert service["multi"]
    assert service["current"]["value"] == ["$__all"]


def test_latency_panels_ask_for_exemplars(stack: Stack) -> None:
    asked = [panel for panel in panels(dashboards.build(stack)["overview"]) if "latency by service" in panel["title"]]
    assert [panel["title"][:3] for panel in asked] == ["P50", "P95", "P99"]
    assert all(target["exemplar"] for panel in asked for target in panel["targets"])


def test_rates_of_slowly_scraped_metrics_span_several_scrapes(stack: Stack) -> None:
    cpu = next(panel for panel in panels(dashboards.build(stack)["overview"]) if panel["title"] == "CPU by container")
    assert [target["interval"] for target in cpu["targets"]] == [str(stack.scrape.slow.interval)]


def test_container_and_log_queries_are_of_this_project_only(stack: Stack) -> None:
    other = stack.model_copy(update={"project": "another"})
    asked = json.dumps(dashboards.build(other))
    assert 'compose_project=\\"another\\"' in asked
    assert '{project=\\"another\\"' in asked
    assert stack.project + '\\"' not in asked


def test_a_panel_asks_one_server() -> None:
    assert dashboards.build(model.load([render.ROOT / "stack.yaml"]))
    shared = sys.modules[f"{dashboards.PACKAGE}.panels"]
    both = (shared.metrics("up"), shared.lines("{}"))
    with pytest.raises(ValueError, match="panel 'Mixed' asks loki and prometheus: give it queries to one server"):
        shared.number("Mixed", "Two servers.", "none", *both)
    with pytest.raises(ValueError, match="panel 'Empty' asks nothing"):
        shared.number("Empty", "No server.", "none")
