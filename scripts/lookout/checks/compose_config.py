"""Docker Compose on the project file."""

from collections.abc import Iterator

from .. import engine
from .base import Context, Finding


def check(context: Context) -> Iterator[Finding]:
    """The project is accepted by ``docker compose config``."""
    done = engine.run("compose", "--file", str(context.folder / "compose.yaml"), "config", "--quiet", check=False)
    if done.returncode != 0 or done.stderr.strip():
        yield Finding("compose-config", "rendered/compose.yaml", (done.stderr or done.stdout).strip())
