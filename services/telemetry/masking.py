"""Takes secrets and personal data out of what leaves the process in a log line."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
MAX_DEPTH = 6

_SECRET_KEY = re.compile(
    r"passw|secret|token|authorization|api[_-]?key|cookie|credential|private[_-]?key|e[_-]?mail|signature",
    re.IGNORECASE,
)
_PATTERNS = (
    (re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"), MASK + "@" + MASK),
    (re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"), MASK),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), r"\1 " + MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]+)?"), MASK),
    (re.compile(r"\b(?:sk-|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abpr]-|AKIA)[A-Za-z0-9_-]{12,}"), MASK),
    (
        re.compile(
            r"((?:password|passwd|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;}]+",
            re.IGNORECASE,
        ),
        r"\1" + MASK,
    ),
)


def mask_text(text: str) -> str:
    """``text`` without e-mail addresses, credentials in URLs, bearer tokens and well-known key formats."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def mask(value: Any, depth: int = 0) -> Any:
    """A copy of ``value`` in which secret fields and secret-looking text are masked.

    Numbers stay under any key: ``input_tokens`` is a count and not a secret. What is nested deeper than
    MAX_DEPTH is masked whole.
    """
    if isinstance(value, str):
        return mask_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= MAX_DEPTH:
        return MASK
    if isinstance(value, Mapping):
        return {key: _mask_field(str(key), item, depth) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(item, depth + 1) for item in value]
    return mask_text(str(value))


def _mask_field(key: str, value: Any, depth: int) -> Any:
    if _SECRET_KEY.search(key) and not (value is None or isinstance(value, bool | int | float)):
        return MASK
    return mask(value, depth + 1)
