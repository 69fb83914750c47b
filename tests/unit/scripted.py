"""A machine played by scripts: programs that write down how they were called, on a PATH of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest


class Scripted:
    """A folder that is the PATH, one of programs that can be installed, and the calls so far.

    A script sees the folder above both as ``$machine``, keeps what it changes in files there, and has what the shell
    has itself.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.bin, self._store, self._log = folder / "bin", folder / "store", folder / "calls"
        self.bin.mkdir()
        self._store.mkdir()
        self._log.touch()
        monkeypatch.setenv("PATH", str(self.bin))

    def offer(self, **programs: str) -> None:
        """Programs that the machine has not, and ``bring NAME`` of another one's script gives it."""
        for name, text in programs.items():
            path = self._store / name.replace("_", "-")
            bring = f'bring() {{ [ -e "$machine/bin/$1" ] || /bin/ln -s "{self._store}/$1" "$machine/bin/$1"; }}'
            called = f'echo "{path.name} $*" >>"{self._log}"'
            path.write_text(f"#!/bin/sh\nmachine='{self.folder}'\n{bring}\n{called}\n{text}\n", encoding="utf-8")
            path.chmod(0o755)

    def has(self, *names: str) -> None:
        """The machine has these programs of those offered."""
        for name in names:
            (self.bin / name).symlink_to(self._store / name)

    def calls(self, but: str = "") -> list[str]:
        """How programs were called, in order; those of the program ``but`` left out."""
        return [call for call in self._log.read_text(encoding="utf-8").splitlines() if call.split()[0] != but]
