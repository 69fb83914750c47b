"""Bucket bounds in rules and their tests are written as Prometheus stores them."""

import re
from collections.abc import Iterator

from .base import Context, Finding

_WHOLE = re.compile(r'\ble\s*(?:=~?|!=)\s*"(\d+)"')


def check(context: Context) -> Iterator[Finding]:
    """No matcher says ``le="2"``: Prometheus 3 stores ``le="2.0"``, and a fixture would hide the difference."""
    for path, text in context.files.items():
        for number, line in enumerate(text.splitlines(), 1):
            for bound in _WHOLE.findall(line.replace('\\"', '"')):
                yield Finding(
                    "bucket-bounds", f"rendered/{path}:{number}", f'le="{bound}" matches nothing: write le="{bound}.0"'
                )
