"""Finds the cgroup of a container and reads it: version 1 and 2, cgroupfs and systemd drivers."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

MAX_DEPTH = 6
_CONTAINER = re.compile(r"(?:docker-)?([0-9a-f]{64})(?:\.scope)?")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one container uses, memory in bytes; the working set, as cAdvisor, without inactive files."""

    cpu_seconds: float
    memory: int
    working_set: int


class Cgroups:
    """The hierarchy mounted at ``root`` (the host's /sys/fs/cgroup)."""

    def __init__(self, root: Path) -> None:
        self._version2 = (root / "cgroup.controllers").is_file()
        self._memory = root if self._version2 else root / "memory"
        self._cpu = root if self._version2 else root / "cpuacct"
        if not self._cpu.is_dir():
            # Some hosts mount both controllers in one place and leave out the link to it.
            self._cpu = root / "cpu,cpuacct"
        self._paths: dict[str, str] = {}

    def find(self, containers: list[str]) -> dict[str, str]:
        """Path of each container's cgroup, from /; walks the tree only for containers not seen yet."""
        if any(container not in self._paths for container in containers):
            self._paths = self._walk()
        return {container: self._paths[container] for container in containers if container in self._paths}

    def read(self, path: str) -> Usage:
        """Usage of the cgroup at ``path``. Raises OSError where it is gone, ValueError for a bad file."""
        memory, cpu = self._memory / path[1:], self._cpu / path[1:]
        if self._version2:
            used = int((memory / "memory.current").read_text())
            inactive = _field(memory / "memory.stat", "inactive_file")
            seconds = _field(cpu / "cpu.stat", "usage_usec") / 1e6
        else:
            used = int((memory / "memory.usage_in_bytes").read_text())
            inactive = _field(memory / "memory.stat", "total_inactive_file")
            seconds = int((cpu / "cpuacct.usage").read_text()) / 1e9
        return Usage(seconds, used, max(used - inactive, 0))

    def _walk(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for folder, names, _files in os.walk(self._memory):
            relative = Path(folder).relative_to(self._memory)
            if len(relative.parts) >= MAX_DEPTH:
                names.clear()
            for name in [name for name in names if _CONTAINER.fullmatch(name)]:
                match = _CONTAINER.fullmatch(name)
                assert match is not None
                found[match[1]] = "/" + str(relative / name)
                # What is below is the container's own.
                names.remove(name)
        return found


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    raise ValueError(f"{path}: no {name}")
