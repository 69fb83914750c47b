"""rendered/ is what the model renders, and the schema what its types say."""

from collections.abc import Iterator

from .. import schema
from ..render import ROOT
from .base import Context, Finding


def check(context: Context) -> Iterator[Finding]:
    """Every committed file is up to date, none is missing and none is left over."""
    if context.committed is None:
        return
    for path in sorted(context.files.keys() | context.committed.keys()):
        if context.files.get(path) != context.committed.get(path):
            yield Finding("rendered-current", f"rendered/{path}", "is not what the model renders: run `make render`")
    committed = ROOT / schema.FILE
    if not committed.exists() or committed.read_text(encoding="utf-8") != schema.text():
        yield Finding("rendered-current", schema.FILE, "is not what the model's types say: run `make render`")
