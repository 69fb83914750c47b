"""Notifications in memory, and in a file so that they survive a restart."""

import json
from collections import deque
from pathlib import Path
from typing import Any

from telemetry import get_logger

KEPT = 1000
# The file is written anew, with what is kept, when it holds this many lines.
MAX_LINES = 2 * KEPT
log = get_logger("receiver.store")
Notification = dict[str, Any]


class Store:
    """The last KEPT notifications, oldest first. A full disk costs the file, not the notification."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "notifications.jsonl"
        self._kept: deque[Notification] = deque(maxlen=KEPT)
        self._lines = 0
        self._load()

    def add(self, notification: Notification) -> None:
        """Keep a notification."""
        self._kept.append(notification)
        try:
            if self._lines >= MAX_LINES:
                self._rewrite()
            else:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(notification) + "\n")
                self._lines += 1
        except OSError as error:
            log.error("notification is kept in memory only", path=str(self._path), error=error.strerror)

    def find(self, alertname: str | None = None, status: str | None = None, since: float = 0.0) -> list[Notification]:
        """Notifications received after ``since`` (Unix seconds), by alert name and status, newest last."""
        return [
            found
            for found in self._kept
            if found["received_at"] > since
            and (status is None or found["status"] == status)
            and (alertname is None or any(a["labels"].get("alertname") == alertname for a in found["alerts"]))
        ]

    def _load(self) -> None:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        for number, line in enumerate(lines, 1):
            try:
                self._kept.append(json.loads(line))
            except ValueError:
                # The last line is cut short where the process was killed while it wrote.
                log.warning("line of the file is skipped", path=str(self._path), line=number)
        self._rewrite()

    def _rewrite(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(json.dumps(kept) + "\n" for kept in self._kept), encoding="utf-8")
        fresh.replace(self._path)
        self._lines = len(self._kept)
