"""What can go wrong, and with which exit code it ends.

    LookoutError                 the base: never raised itself
    ├── Unsatisfied      exit 1  the stack or a check falls short of what is claimed
    ├── BadModel         exit 2  the model is wrong: file, line, cause, mend
    ├── WrongUsage       exit 2  the command line or the surroundings are wrong
    └── MissingTool      exit 3  an engine, a plugin or a tool is not there

Anything else that reaches the top is a bug, and shows its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class LookoutError(Exception):
    """Something the user can mend. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class Unsatisfied(LookoutError):
    """The stack or a check falls short."""

    exit_code = 1


class WrongUsage(LookoutError):
    """Arguments or surroundings that cannot work."""

    exit_code = 2


class MissingTool(LookoutError):
    """A tool that the command needs is not on this machine."""

    exit_code = 3


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a model file: where, what and why, how to mend it."""

    file: str
    line: int
    cause: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.cause}\n  mend: {self.mend}"


class BadModel(LookoutError):
    """The model is wrong; ``problems`` lists every place, in the order of the file."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))
