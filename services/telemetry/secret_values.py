"""Where a value in text ends that has quotes or brackets around it."""

import re

# A quote with all the backslashes before it, looked for only where they begin: a row of them would be quadratic.
_QUOTES = {quote: re.compile(rf"(?<!\\)(\\*+){quote}") for quote in "\"'"}
# What follows a value in JSON and in Python's repr, and seldom stands within one.
_AFTER_VALUE = re.compile(r"\s*+(?:,\s*+[\"'{\[\\]|[)}\]]++(?:[\s,\"'\\]|\Z)|\Z)")
_BRACKET = re.compile(r"(?P<open>[(\[{])|[)}\]]|(?<!\w)[bru]?(?P<escapes>\\{0,7}+)(?P<quote>[\"'])")


def end_of_quoted(text: str, at: int, quote: str, escapes: int) -> int:
    """Where the text ends that begins at ``at``, after a ``quote`` with ``escapes`` backslashes before it.

    It is as long as ``text`` where nothing closes it, and ends at the latest where the text around it does.
    """
    for found in _QUOTES[quote].finditer(text, at):
        more = len(found[1]) - escapes
        # JSON in JSON doubles the backslashes: what is escaped has an odd number of its own. Python's repr of JSON
        # doubles them before a quote that it need not escape; there the value goes on unless something ends it.
        if more <= 0 or (more // (escapes + 1) % 2 == 0 and _AFTER_VALUE.match(text, found.end())):
            return found.end() - 1 - min(escapes, len(found[1]))
    return len(text)


def end_of_brackets(text: str, at: int) -> int:
    """Where the bracket at ``at`` is closed, brackets in quotes aside; the end of ``text`` where it is not."""
    depth = 0
    while found := _BRACKET.search(text, at):
        at = found.end()
        if quote := found["quote"]:
            escapes = len(found["escapes"])
            at = end_of_quoted(text, at, quote, escapes) + escapes + 1
        else:
            depth += 1 if found["open"] else -1
            if depth == 0:
                return at
    return len(text)
