"""Takes secrets and personal data out of what leaves the process in a log line: by field name and by pattern."""

import re
from collections.abc import Mapping
from typing import Any

from telemetry.secret_assignments import HINTS, mask_assignments
from telemetry.secret_names import is_header, is_secret
from telemetry.secret_numbers import ENOUGH_DIGITS, is_card, mask_numbers
from telemetry.secret_patterns import KEY_LENGTH, MASK, RULES, SHORT_RULES

__all__ = ["MASK", "mask", "mask_text", "shown"]

MAX_DEPTH = 10
# No number of a card is smaller (eleven digits and less).
_SMALL = 10**11
# Python refuses to render longer numbers, at the strictest setting of its limit (640 digits).
_MAX_BITS = 2048
# Text without any of these has no secret in it: a look at each character, and most lines of prose are done.
_WORTH_A_LOOK = re.compile(r"[0-9=:@\"'%]|--|[a-z][A-Z]")
# Hexadecimal ids, digests and UUIDs: what most values of fields are. With a letter, so that no card is among them.
_HEX = re.compile(r"(?=[0-9-]{0,128}[a-f])[0-9a-f-]{1,128}")
# Texts that come again and again (messages, routes, names) and had nothing to mask. Never a secret.
_CLEAN_MAX = 2048
_CLEAN_MAX_LENGTH = 200
_clean: set[str] = set()


def mask_text(text: str) -> str:
    """``text`` without keys, tokens, passwords, cookies, card and telephone numbers, e-mail addresses.

    Linear in the length of ``text``; masking twice changes nothing more. docs/logs.md lists what is found.
    """
    if text in _clean:
        return text
    masked = _mask(text) if _WORTH_A_LOOK.search(text) else text
    if masked is text and len(text) <= _CLEAN_MAX_LENGTH:
        if len(_clean) >= _CLEAN_MAX:
            _clean.clear()
        _clean.add(text)
    return masked


def mask(value: Any, depth: int = 0) -> Any:
    """A copy of ``value`` in which secret fields and secret-looking text are masked.

    What is nested deeper than MAX_DEPTH is masked whole. Never raises: what cannot be shown is named by its type.
    """
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, int):
        return value if -_SMALL < value < _SMALL else _mask_int(value)
    if value is None or isinstance(value, float):
        return value
    if depth >= MAX_DEPTH:
        return MASK
    if isinstance(value, Mapping):
        named = ((shown(key), item) for key, item in value.items())
        return {mask_text(name): _mask_field(name, item, depth) for name, item in named}
    if isinstance(value, list | tuple):
        if len(value) == 2 and is_header(name := _header(value[0])):
            return [mask_text(name), _mask_field(name, value[1], depth)]
        return [mask(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return [mask(item, depth + 1) for item in value]
    return mask_text(shown(value))


def shown(value: Any) -> str:
    """``str(value)``, or the name of its type where that fails."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _mask_field(name: str, value: Any, depth: int) -> Any:
    # None and a truth value say whether there is a secret, which an operator may want to know.
    if is_secret(name) and value is not None and not isinstance(value, bool):
        return MASK
    return mask(value, depth + 1)


def _mask_int(value: int) -> int | str:
    if value.bit_length() > _MAX_BITS:
        return f"<{type(value).__name__}>"
    return MASK if is_card(str(value)) else value


def _header(name: Any) -> str:
    """``name`` of a header as ASGI and httpx have it in lists of pairs; empty where it is none."""
    if isinstance(name, bytes):
        return name.decode("latin-1")
    return name if isinstance(name, str) else ""


def _mask(text: str) -> str:
    if _HEX.fullmatch(text):
        return text
    # Before the names: a value without quotes ends at a space, and 4111 1111 1111 1111 does not.
    masked = mask_numbers(text) if ENOUGH_DIGITS.search(text) else text
    lower = text.lower()
    for hint in HINTS:
        if hint in lower:
            masked = mask_assignments(masked)
            break
    for hints, pattern, replacement in RULES if KEY_LENGTH.search(text) else SHORT_RULES:
        for hint in hints:
            if hint in lower:
                masked = pattern.sub(replacement, masked)
                break
    return text if masked == text else masked
