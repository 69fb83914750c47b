"""Builders that all dashboards share: how a panel looks and where it stands, never what it asks (no PromQL here).

A query knows its datasource by fixed UID, which is the name of the server and of the plugin, too: so a panel
leaves with the server it asks. Panels keep their ids when others leave, since links point at them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import logs, loki, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.loki import LokiQueryDirection
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from lookout import names

Query = prometheus.Dataquery | loki.Dataquery
Panel = stat.Panel | timeseries.Panel | logs.Panel | table.Panel
P = TypeVar("P", bound=Panel)

COLUMNS = 24
"""Width of Grafana's grid."""
TAG = "lookout"
OK, WARN, BAD = "green", "orange", "red"


def source(uid: str) -> dashboard.DataSourceRef:
    """A datasource by its UID."""
    return dashboard.DataSourceRef(type_val=uid, uid=uid)


def metrics(
    expr: str, legend: str = "", *, exemplars: bool = False, rows: bool = False, step: str = ""
) -> prometheus.Dataquery:
    """A query to Prometheus: over time, or with ``rows`` a table of now. ``step`` is the least time between points."""
    query = prometheus.Dataquery().expr(expr).legend_format(legend).datasource(source(names.UID_PROMETHEUS))
    if rows:
        return query.instant().format(PromQueryFormat.TABLE)
    query.range().format(PromQueryFormat.TIME_SERIES).exemplar(exemplars)
    return query.interval(step) if step else query


def lines(expr: str, legend: str = "") -> loki.Dataquery:
    """A query to Loki over time: lines, or a number made of them."""
    query = loki.Dataquery().expr(expr).query_type("range").direction(LokiQueryDirection.BACKWARD)
    return query.legend_format(legend).datasource(source(names.UID_LOKI))


def number(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Mapping[float, str] | None = None,
    of_all: bool = False,
) -> stat.Panel:
    """Big numbers, coloured from each of ``steps`` on; with ``of_all`` steps are percent of the largest number."""
    mode = dashboard.ThresholdsMode.PERCENTAGE if of_all else dashboard.ThresholdsMode.ABSOLUTE
    panel = (
        stat.Panel()
        .unit(unit)
        .min(0)
        .no_value("no data")
        .thresholds(builders.ThresholdsConfig().mode(mode).steps(_thresholds(steps or {})))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .graph_mode(common.BigValueGraphMode.NONE if of_all else common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return _asking(panel, title, description, queries)


def series(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    step: str = "",
    colours: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Lines over time, or stacked bars; ``step`` is the least time between them, ``colours`` go by name of a series."""
    panel = (
        timeseries.Panel()
        .unit(unit)
        .min(0)
        .draw_style(common.GraphDrawStyle.BARS if stacked else common.GraphDrawStyle.LINE)
        .fill_opacity(80 if stacked else 0)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if step:
        panel.interval(step)
    for name, colour in (colours or {}).items():
        fixed = {"mode": dashboard.FieldColorModeId.FIXED, "fixedColor": colour}
        panel.override_by_name(name, [dashboard.DynamicConfigValue(id_val="color", value=fixed)])
    return _asking(panel, title, description, queries)


def log(title: str, description: str, *queries: loki.Dataquery) -> logs.Panel:
    """Log lines, newest first."""
    panel = (
        logs.Panel()
        .unit("none")
        .show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .sort_order(common.LogsSortOrder.DESCENDING)
        .dedup_strategy(common.LogsDedupStrategy.NONE)
    )
    return _asking(panel, title, description, queries)


def rows(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    columns: Mapping[str, str],
    worst_first: str,
    states: Mapping[str, tuple[str, str]],
) -> table.Panel:
    """A table of ``columns`` (label → heading), sorted by a heading; ``states``: value → word and colour."""
    results = {value: dashboard.ValueMappingResult(text=text, color=colour) for value, (text, colour) in states.items()}
    panel = (
        table.Panel()
        .unit(unit)
        .mappings([dashboard.ValueMap(options=results)])
        .sort_by([common_builders.TableSortByFieldState().display_name(worst_first).desc(False)])
        .with_transformation(
            dashboard.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
        )
        .with_transformation(
            dashboard.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": {},
                    "indexByName": {label: index for index, label in enumerate(columns)},
                    "renameByName": dict(columns),
                },
            )
        )
        .override_by_name(
            worst_first,
            [
                dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-background"}),
                dashboard.DynamicConfigValue(id_val="custom.align", value="left"),
            ],
        )
    )
    return _asking(panel, title, description, queries)


def choice(name: str, label: str, query: str) -> builders.QueryVariable:
    """A variable filled by Prometheus: any number of its values, all at first."""
    # Grafana 9 finds a variable by its id, for which the SDK would write zeros.
    return (
        builders.QueryVariable(name)
        .id(name)
        .label(label)
        .datasource(source(names.UID_PROMETHEUS))
        .query({"query": query, "refId": "Variable"})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .include_all(True)
        .multi(True)
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def mark(name: str, expr: str, colour: str = BAD) -> builders.AnnotationQuery:
    """A mark in every graph for as long as a query to Prometheus gives something."""
    annotation = builders.AnnotationQuery().name(name).datasource(source(names.UID_PROMETHEUS))
    return annotation.expr(expr).icon_color(colour).enable(True)


@dataclass(frozen=True)
class Row:
    """Panels side by side over the whole width; ``needs`` names servers beside those that the panels ask."""

    height: int
    panels: Sequence[Panel]
    needs: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A heading and the rows below it."""

    title: str
    rows: Sequence[Row]


def board(uid: str, title: str, description: str) -> builders.Dashboard:
    """An empty dashboard of the bundle: not editable, the last hour, linked to its siblings."""
    siblings = builders.DashboardLink("Lookout").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    return (
        builders.Dashboard(f"Lookout / {title}")
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(siblings.as_dropdown(True).keep_time(True).include_vars(True))
    )


def place(onto: builders.Dashboard, running: Collection[str], sections: Sequence[Section]) -> builders.Dashboard:
    """Puts on a dashboard what the running servers can answer, from top to bottom, with no gap and no overlap."""
    ids = count(1)
    y = 0
    for section in sections:
        heading = next(ids)
        kept = list(_kept(section, ids, running))
        if not kept:
            continue
        at = dashboard.GridPos(h=1, w=COLUMNS, x=0, y=y)
        onto.with_row(builders.Row(section.title).id(heading).grid_pos(at))
        y += 1
        for height, panels in kept:
            edges = [COLUMNS * index // len(panels) for index in range(len(panels) + 1)]
            for (left, right), (identity, panel) in zip(pairwise(edges), panels, strict=True):
                at = dashboard.GridPos(h=height, w=right - left, x=left, y=y)
                onto.with_panel(panel.id(identity).grid_pos(at))
            y += height
    return onto


Numbered = tuple[int, Panel]


def _kept(section: Section, ids: Iterator[int], running: Collection[str]) -> Iterator[tuple[int, list[Numbered]]]:
    """Heights of rows with their panels and ids; ids are counted for the panels that leave, too."""
    for row in section.rows:
        numbered = [(next(ids), panel) for panel in row.panels]
        panels = [(identity, panel) for identity, panel in numbered if _server(panel) in running]
        if panels and all(server in running for server in row.needs):
            yield row.height, panels


def _server(panel: Panel) -> str:
    asked = panel.build().datasource
    if asked is None or asked.uid is None:
        raise ValueError(f"panel {panel.build().title!r} asks nothing")
    return asked.uid


def _asking(panel: P, title: str, description: str, queries: Sequence[Query]) -> P:
    """The panel with its words and queries. Raises ValueError unless all of them ask one and the same datasource."""
    asked = {names.UID_LOKI if isinstance(query, loki.Dataquery) else names.UID_PROMETHEUS for query in queries}
    if len(asked) != 1:
        raise ValueError(
            f"panel {title!r} asks {' and '.join(sorted(asked)) or 'nothing'}: give it queries to one server"
        )
    panel.title(title).description(description).datasource(source(asked.pop()))
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(query.ref_id(letter))
    return panel


def _thresholds(steps: Mapping[float, str]) -> list[dashboard.Threshold]:
    """Steps by the value they start at; below the first of them all is well."""
    first = dashboard.Threshold(value=None, color=OK)
    return [first, *(dashboard.Threshold(value=value, color=colour) for value, colour in steps.items())]
