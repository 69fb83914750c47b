"""rendered/ is what the model renders, and the schema what its types say."""

from collections.abc import Iterator

from .. import schema
from ..render import ROOT
from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """Every committed file is up to date, none is missing and none is left over."""
    written = ROOT / schema.FILE
    if not written.exists() or written.read_text(encoding="utf-8") != schema.text():
        yield Finding("rendered-current", schema.FILE, "is not what the model's types say: run `make render`")
    if context.committed is None:
        yield Skipped("rendered-current", "other model files were named, and rendered/ is of stack.yaml alone")
        return
    for path in sorted(context.files.keys() | context.committed.keys()):
        if context.files.get(path) != context.committed.get(path):
            yield Finding("rendered-current", f"rendered/{path}", "is not what the model renders: run `make render`")
