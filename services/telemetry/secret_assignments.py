"""Values that text assigns to a secret name: ``password=x``, ``"api_key": "x"``, ``Cookie: a=b``, ``--token x``."""

import re

from telemetry.secret_names import is_header, is_secret, words
from telemetry.secret_patterns import MASK
from telemetry.secret_values import end_of_brackets, end_of_quoted

# Pieces of lower-case text, one of which every secret name contains.
HINTS = (
    "pass", "pwd", "secret", "token", "key", "jwt", "bearer", "authoriz", "cookie", "credential", "signature", "sig=",
    "otp", "cvv", "cvc", "ssn", "iban", "mail", "phone", "session", "card", "mobile", "string",
)  # fmt: skip

# A name with what stands between it and its value: = : => , with quotes that may be escaped and the bracket of
# user[password]=, all of them percent-encoded too, or the space after --name.
_NAME = re.compile(
    r"(?:(?<![\w.-])|(?<=%[0-9A-Fa-f]{2}))(?P<flag>--)?(?P<name>[A-Za-z_][\w.-]*+)"
    r"(?:(?:\\{0,7}+[\"']|%2[27])?(?:\](?=\s{0,4}=)|%5[Dd](?=%3D|=))?"
    r"(?:\s{0,4}+(?:=>|:=|[=:](?![=/:]))\s{0,4}+|(?P<encoded>%3[ADad]))"
    r"|(?P<space> {1,4}+)(?=[^\s-])|(?P<comma>[\"'],\s?))"
)
_QUOTE = re.compile(r"[bru]?(?P<escapes>\\{0,7}+)(?P<quote>[\"'])")
# A bracket, quote or backslash is the value's own where more of it follows: ab(c)d, ab"c.
_REST = r"[^\s\"'&,;)}\]>\\]|[\"')}\]](?=\w)|\\(?=[^\s\"'\\nrtu])"
_BARE = re.compile(rf"(?:{_REST})++")
_BARE_ENCODED = re.compile(rf"(?:(?!%26)(?:{_REST}))++")
_SCHEME = re.compile(r"(?:bearer|basic|digest|token|apikey|negotiate)[ \t]{1,4}+(?=\S)", re.IGNORECASE)
_COOKIES = re.compile(r"[^\s;=\"'\[{]++(?:=[^\s;\"']*+)?(?:;[ \t]{0,4}+[^\s;=\"']++(?:=[^\s;\"']*+)?)*+")
_COOKIE_NAMES = ("cookie", "set-cookie", "set_cookie")
# Prose and code, no values: "token: expired", "password: str", "secret = load_secret(…)", "token = settings[…]".
_NO_VALUE = frozenset(
    words(
        "none null nil true false missing required invalid expired empty unset set not is was must wrong the a an "
        "unknown undefined optional string str bytes int bool object any redacted masked hidden filtered removed yes "
        "no ok failed denied"
    )
)
_AROUND = "()[]{}.:!?"
_INSIDE = r"[^()\[\]\n]{0,99}+"
# Every repetition that may cross the name of another secret is bounded: what is refused is read again from there.
_CODE = re.compile(
    # A call or an item, whole in its line or open at the end of it: get_password(x), form['password'], load(⏎
    rf"(?:[A-Za-z_][\w.]*+[(\[]{_INSIDE}(?:[(\[]{_INSIDE}[)\]]{_INSIDE}){{0,3}}+[)\]]"
    r"|[a-z_][a-z_.]*+[(\[](?=[ \t]{0,4}(?:\n|\Z))"
    # Variables and templates: {x}, ${X}, ${X:?set it}, {{ x }}, $X, $1, $(cat x), %s, %(x)s, %X%; <placeholders>; stars
    r"|[$%]?\{[\w.]{0,99}(?:![rsa]|:\?[^{}\n]{0,99})?\}|\$?\{\{[^{}\n]{0,99}\}\}"
    r"|\$(?:[A-Z_][A-Z0-9_]{0,99}|[0-9]{1,2}|\([^()\n]{0,99}\))|%(?:[sdr]|\(\w{1,99}\)[sdr]|[A-Z_]{1,99}%)"
    r"|<[^<>\n]{0,99}>|\*+)"
    r"(?=[\s\"'&,;:.)}\]>\\(\[|]|\Z)"
)


def mask_assignments(text: str) -> str:
    """``text`` with the values of secret names masked; names, quotes and separators stay."""
    pieces: list[str] = []
    done = at = 0
    while (found := _NAME.search(text, at)) is not None:
        at = found.end()
        name = found["name"].lower()
        if not _assigns(found):
            continue
        span = _value(text, at, name, _BARE_ENCODED if found["encoded"] else _BARE)
        if span is not None:
            pieces += (text[done : span[0]], MASK)
            done = at = span[1]
    return "".join(pieces) + text[done:] if pieces else text


def _assigns(found: re.Match[str]) -> bool:
    """Whether a secret name is given a value: after a space only as --name, after a comma only as a header."""
    if found["space"] is not None and found["flag"] is None:
        return False
    return (is_header if found["comma"] else is_secret)(found["name"])


def _value(text: str, at: int, name: str, bare: re.Pattern[str]) -> tuple[int, int] | None:
    """Where the secret begins and ends; None where there is none."""
    if name in _COOKIE_NAMES and (cookies := _COOKIES.match(text, at)):
        return None if cookies[0].rstrip(_AROUND + ",") == MASK else cookies.span()
    scheme = _SCHEME.match(text, at)
    start = scheme.end() if scheme else at
    if quote := _QUOTE.match(text, start):
        start = quote.end()
        end = end_of_quoted(text, start, quote["quote"], len(quote["escapes"]))
        if inner := _SCHEME.match(text, start, end):
            start = inner.end()
        return None if text[start:end] in ("", MASK) else (start, end)
    if _CODE.match(text, start):
        return None
    end = end_of_brackets(text, start) if text[start : start + 1] in ("(", "[", "{") else start
    if found := bare.match(text, end):
        end = found.end()
    return None if _is_no_value(text[start:end], name) else (start, end)


def _is_no_value(value: str, name: str) -> bool:
    plain = value.strip(_AROUND).lower()
    return not plain or plain in _NO_VALUE or plain == name
