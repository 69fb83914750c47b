"""Lookout / Overview: is everything up, fast and right, and where is it not."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from lookout import names
from lookout.model import Stack

from . import panels
from .panels import BAD, OK, WARN, Row, Section, lines, metrics

UID = "overview"

CHOSEN = 'service=~"$service"'
UP = f'up{{job="{names.JOB_SERVICES}", {CHOSEN}}}'
REQUESTS = f"rate(http_requests_total{{{CHOSEN}}}[$__rate_interval])"
FAILED = f'rate(http_requests_total{{{CHOSEN}, status=~"5.."}}[$__rate_interval])'
SECONDS = f"rate(http_request_duration_seconds_bucket{{{CHOSEN}}}[$__rate_interval])"
FIRING = 'ALERTS{alertstate="firing", alertname!="Watchdog"}'
LEVELS = {"error": BAD, "critical": "purple", "warning": WARN, "info": OK, "debug": "blue"}


def build(stack: Stack) -> Dashboard:
    """The dashboard, without the panels whose servers this stack does not run."""
    board = panels.board(
        UID, "Overview", "Every service at a glance: availability, traffic, errors, latency, resources, logs."
    )
    board.with_variable(panels.choice("service", "Service", f'label_values(up{{job="{names.JOB_SERVICES}"}}, service)'))
    board.annotation(panels.mark("Alerts", FIRING))
    sections = [_now(), _traffic(), _latency(), _containers(stack), _logs(stack), _targets()]
    return panels.place(board, stack.running, sections)


def _now() -> Section:
    return Section(
        "Now",
        [
            Row(
                4,
                [
                    panels.number(
                        "Services up",
                        "Chosen services whose last scrape succeeded, and all of them. Red until both are equal.",
                        "none",
                        metrics(f"sum({UP})", "up"),
                        metrics(f"count({UP})", "all"),
                        steps={0: BAD, 100: OK},
                        of_all=True,
                    ),
                    panels.number(
                        "Requests",
                        "Requests answered per second by the chosen services.",
                        "reqps",
                        metrics(f"sum({REQUESTS})", "requests"),
                    ),
                    panels.number(
                        "Errors",
                        "Share of requests answered with a status of 500 or above.",
                        "percentunit",
                        metrics(f"(sum({FAILED}) or vector(0)) / (sum({REQUESTS}) > 0)", "errors"),
                        steps={0.01: WARN, 0.05: BAD},
                    ),
                    panels.number(
                        "P95 latency",
                        "95 of 100 requests to the chosen services are answered within this time.",
                        "s",
                        metrics(f"histogram_quantile(0.95, sum by (le) ({SECONDS}))", "P95"),
                        steps={1: WARN, 2: BAD},
                    ),
                    panels.number(
                        "Alerts firing",
                        "Alerts of the whole stack that fire now, the dead-man's switch left aside.",
                        "none",
                        metrics(f"count({FIRING}) or vector(0)", "alerts"),
                        steps={1: BAD},
                    ),
                ],
            )
        ],
    )


def _traffic() -> Section:
    answered = f"sum by (service) ({REQUESTS})"
    return Section(
        "Traffic",
        [
            Row(
                8,
                [
                    panels.series(
                        "Requests by service",
                        "Requests answered per second.",
                        "reqps",
                        metrics(answered, "{{service}}"),
                    ),
                    panels.series(
                        "Errors by service",
                        "Share of requests answered with a status of 500 or above; nothing is drawn without traffic.",
                        "percentunit",
                        metrics(f"(sum by (service) ({FAILED}) or 0 * {answered}) / ({answered} > 0)", "{{service}}"),
                    ),
                ],
            )
        ],
    )


def _latency() -> Section:
    graphs = [
        panels.series(
            f"P{percent} latency by service",
            f"{percent} of 100 requests are answered within this time. A dot is a request with a kept trace: open it.",
            "s",
            metrics(
                f"histogram_quantile({percent / 100:g}, sum by (service, le) ({SECONDS}))",
                "{{service}}",
                exemplars=True,
            ),
        )
        for percent in (50, 95, 99)
    ]
    return Section("Latency", [Row(8, graphs)])


def _containers(stack: Stack) -> Section:
    name = "container_label_com_docker_compose_service"
    ours = f'container_label_com_docker_compose_project="{stack.project}"'
    # Containers are scraped less often than $__rate_interval assumes.
    step = str(stack.scrape.slow.interval)
    recent = f"{2 * stack.scrape.slow.interval.milliseconds}ms"
    return Section(
        "Containers",
        [
            Row(
                8,
                [
                    panels.series(
                        "Memory by container",
                        "Working set: what counts against the memory limit and cannot be reclaimed.",
                        "bytes",
                        metrics(
                            # Of a container that was replaced a moment ago, the new one counts and not both.
                            f"max by ({name}) (last_over_time(container_memory_working_set_bytes{{{ours}}}[{recent}]))",
                            f"{{{{{name}}}}}",
                            step=step,
                        ),
                    ),
                    panels.series(
                        "CPU by container",
                        "Processor cores in use.",
                        "suffix: cores",
                        metrics(
                            f"sum by ({name}) (rate(container_cpu_usage_seconds_total{{{ours}}}[$__rate_interval]))",
                            f"{{{{{name}}}}}",
                            step=step,
                        ),
                    ),
                ],
                needs=["cadvisor"],
            )
        ],
    )


def _logs(stack: Stack) -> Section:
    streams = f'project="{stack.project}", {CHOSEN}'
    return Section(
        "Logs",
        [
            Row(
                6,
                [
                    panels.series(
                        "Log lines by level",
                        "Lines that the chosen services wrote in the time of one bar.",
                        "short",
                        lines(f"sum by (level) (count_over_time({{{streams}}}[$__interval]))", "{{level}}"),
                        stacked=True,
                        step="15s",
                        colours=LEVELS,
                    )
                ],
                needs=["promtail"],
            ),
            Row(
                10,
                [
                    panels.log(
                        "Recent errors",
                        "Newest lines of level error and above. Open a line to go to its trace.",
                        lines(f'{{{streams}, level=~"error|critical|fatal|panic"}}'),
                    )
                ],
                needs=["promtail"],
            ),
        ],
    )


def _targets() -> Section:
    return Section(
        "Targets",
        [
            Row(
                10,
                [
                    panels.rows(
                        "Targets",
                        "Every target of Prometheus with the result of its last scrape; what is down comes first.",
                        "none",
                        metrics("up", rows=True),
                        columns={
                            "Value": "State",
                            "job": "Job",
                            "service": "Service",
                            "team": "Team",
                            "instance": "Instance",
                        },
                        worst_first="State",
                        states={"0": ("down", BAD), "1": ("up", OK)},
                    )
                ],
            )
        ],
    )
