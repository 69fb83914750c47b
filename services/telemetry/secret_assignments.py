"""Values that text assigns to a secret name: ``password=x``, ``"api_key": "x"``, ``Cookie: a=b``, ``--token x``."""

import re

from telemetry.secret_names import is_secret, words
from telemetry.secret_patterns import MASK

# Pieces of lower-case text, one of which every secret name contains.
HINTS = (
    "pass", "pwd", "secret", "token", "key", "jwt", "bearer", "authoriz", "cookie", "credential", "signature", "sig=",
    "otp", "cvv", "cvc", "ssn", "iban", "mail", "phone", "session", "card", "mobile", "string",
)  # fmt: skip

# A name with what stands between it and its value: = : => , with quotes that may be escaped, or the space after --name.
_NAME = re.compile(
    r"(?<![\w.-])(?P<flag>--)?(?P<name>[A-Za-z_][\w.-]*+)"
    r"(?:(?:\\?[\"'])?\s{0,4}+(?:=>|:=|[=:](?![=/:]))\s{0,4}+|(?P<space> {1,4}+)(?=[^\s-])|[\"'],\s?)"
)
_VALUE = re.compile(
    r"[bru]?(?P<quote>\\?[\"'])(?P<quoted>.*?)(?=(?P=quote)|\Z)|(?P<bare>[^\s\"'&,;)}\]>\\]++)",
    re.DOTALL,
)
_SCHEME = re.compile(r"(?:bearer|basic|digest|token|apikey|negotiate)[ \t]{1,4}+(?=\S)", re.IGNORECASE)
_COOKIES = re.compile(r"[^\s;=\"']++(?:=[^\s;\"']*+)?(?:;[ \t]{0,4}+[^\s;=\"']++(?:=[^\s;\"']*+)?)*+")
_COOKIE_NAMES = ("cookie", "set-cookie", "set_cookie")
# Names of headers that may stand beside their value in a list of pairs, as ASGI and httpx show them.
_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "api-key"}
)
# Prose and code, no values: "token: expired", "password: str", "secret = load_secret(…)", "token = settings[…]".
_NO_VALUE = frozenset(
    words(
        "none null nil true false missing required invalid expired empty unset set not is was must wrong the a an "
        "unknown undefined optional string str bytes int bool object any redacted masked hidden yes no ok failed denied"
    )
)
_CODE = re.compile(r"[A-Za-z_][\w.]*+[(\[]|[$%]?[{<]|\$[A-Z0-9_(]|%[sdr]\b|\*+\Z|\[|\(")


def mask_assignments(text: str) -> str:
    """``text`` with the values of secret names masked; names, quotes and separators stay."""
    pieces: list[str] = []
    done = at = 0
    while (found := _NAME.search(text, at)) is not None:
        at = found.end()
        name = found["name"]
        if not is_secret(name) or not _assigns(found, name.lower()):
            continue
        span = _value(text, at, name.lower())
        if span is not None:
            pieces += (text[done : span[0]], MASK)
            done = at = span[1]
    return "".join(pieces) + text[done:] if pieces else text


def _assigns(found: re.Match[str], name: str) -> bool:
    """Whether what follows the name is an assignment: a space only after --name, a comma only after a header."""
    if found["space"] is not None:
        return found["flag"] is not None
    return not found[0].rstrip().endswith(",") or name in _HEADERS


def _value(text: str, at: int, name: str) -> tuple[int, int] | None:
    """Where the secret begins and ends; None where there is none."""
    if name in _COOKIE_NAMES and (cookies := _COOKIES.match(text, at)):
        return None if cookies[0] == MASK else cookies.span()
    scheme = _SCHEME.match(text, at)
    found = _VALUE.match(text, scheme.end() if scheme else at)
    if found is None:
        return None
    group = "quoted" if found["quote"] else "bare"
    start, end = found.span(group)
    if group == "quoted" and (inner := _SCHEME.match(text, start, end)):
        start = inner.end()
    value = text[start:end]
    if not value or value == MASK or (group == "bare" and _is_no_value(value, name)):
        return None
    return start, end


def _is_no_value(value: str, name: str) -> bool:
    plain = value.rstrip(".:!?").lower()
    return not plain or plain in _NO_VALUE or plain == name or _CODE.match(value) is not None
