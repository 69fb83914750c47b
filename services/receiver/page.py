"""The page that lists notifications; everything in them is escaped."""

from datetime import UTC, datetime
from html import escape
from typing import Any

SHOWN = 100
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>Lookout: notifications</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem} table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.4rem .8rem;border-bottom:1px solid #ccc;vertical-align:top}
.firing{color:#b00020;font-weight:bold}.resolved{color:#1b6e2d}
</style>
</head>
<body>
<h1>Notifications</h1>
"""


def render(notifications: list[dict[str, Any]]) -> str:
    """HTML of the newest SHOWN, newest first."""
    if not notifications:
        return _HEAD + "<p>None yet.</p>\n</body>\n</html>\n"
    rows = [_row(found, alert) for found in notifications[: -SHOWN - 1 : -1] for alert in found["alerts"]]
    columns = ("received", "status", "severity", "alert", "instance", "summary")
    head = "<tr>" + "".join(f"<th>{column}</th>" for column in columns) + "</tr>"
    return _HEAD + f"<table>\n{head}\n" + "\n".join(rows) + "\n</table>\n</body>\n</html>\n"


def _row(found: dict[str, Any], alert: dict[str, Any]) -> str:
    labels, annotations = alert["labels"], alert["annotations"]
    received = datetime.fromtimestamp(found["received_at"], UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    status = alert["status"]
    cells = [received, labels.get("severity", ""), labels.get("alertname", ""), labels.get("instance", "")]
    when, severity, name, instance = (escape(str(cell)) for cell in cells)
    summary = escape(str(annotations.get("summary", "")))
    links = " ".join(
        f'<a href="{escape(url)}">{label}</a>'
        for label, key in (("runbook", "runbook_url"), ("dashboard", "dashboard_url"))
        if (url := str(annotations.get(key, ""))).startswith(("http://", "https://"))
    )
    return (
        f'<tr><td>{when}</td><td class="{escape(status)}">{escape(status)}</td><td>{severity}</td>'
        f"<td>{name}</td><td>{instance}</td><td>{summary} {links}</td></tr>"
    )
