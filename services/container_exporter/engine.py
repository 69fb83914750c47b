"""What the engine knows of its containers, from the files that it keeps (/var/lib/docker/containers)."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Container:
    """One running container; ``started`` in Unix seconds, ``memory_limit`` in bytes, 0 for none."""

    id: str
    name: str
    image: str
    service: str
    project: str
    started: float
    memory_limit: int


def running(folder: Path) -> tuple[list[Container], list[str]]:
    """The running containers, and what could not be read. Raises OSError where ``folder`` cannot be."""
    found, failures = [], []
    for entry in sorted(folder.iterdir()):
        try:
            container = _read(entry)
        except FileNotFoundError:
            # It went away between the listing and now.
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            failures.append(f"{entry.name}: {type(error).__name__}: {error}")
            continue
        if container is not None:
            found.append(container)
    return found, failures


def _read(folder: Path) -> Container | None:
    config = json.loads((folder / "config.v2.json").read_text(encoding="utf-8"))
    if not config["State"]["Running"]:
        return None
    host = json.loads((folder / "hostconfig.json").read_text(encoding="utf-8"))
    labels = config["Config"].get("Labels") or {}
    return Container(
        id=config["ID"],
        name=config["Name"].removeprefix("/"),
        image=config["Config"]["Image"],
        service=labels.get("com.docker.compose.service", ""),
        project=labels.get("com.docker.compose.project", ""),
        started=datetime.fromisoformat(config["State"]["StartedAt"]).timestamp(),
        memory_limit=int(host.get("Memory") or 0),
    )
