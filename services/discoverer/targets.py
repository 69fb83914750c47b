"""The targets that were found, in the file that Prometheus reads (file_sd). The file is all that is remembered."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from discoverer.labels import Claim

FILE = "services.json"
Target = dict[str, Any]


class Targets:
    """Targets by service, kept in ``folder``; a target that is gone stays until it is forgotten."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._kept: dict[str, Target] = {}

    def load(self) -> None:
        """Read what was kept; nothing where there is no file yet. Raises OSError or ValueError for a bad one."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            self._kept = {target["labels"]["service"]: target for target in kept}
        except FileNotFoundError:
            return
        except (LookupError, TypeError) as error:
            raise ValueError(f"{self._path}: no list of targets: {error!r}") from error

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._kept))

    def container(self, service: str) -> str | None:
        """The container that a service was last seen in; None where it is not known."""
        target = self._kept.get(service)
        return None if target is None else str(target["targets"][0]).rpartition(":")[0]

    def keep(self, claims: Iterable[Claim]) -> list[Claim]:
        """Add claims, or put them in the place of those of the same service. Returns those that changed something.

        Raises OSError where the file cannot be written; then nothing is changed.
        """
        changed = [claim for claim in claims if self._kept.get(claim.service) != claim.target]
        if changed:
            self._write(self._kept | {claim.service: claim.target for claim in changed})
        return changed

    def forget(self, services: Iterable[str]) -> None:
        """Remove services. Raises OSError where the file cannot be written; then nothing is changed."""
        gone = set(services)
        self._write({service: target for service, target in self._kept.items() if service not in gone})

    def _write(self, kept: dict[str, Target]) -> None:
        """In one step, under a name that Prometheus does not read before: it never sees half a file."""
        fresh = self._path.with_name(f".{FILE}.new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump([kept[service] for service in sorted(kept)], file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._kept = kept
