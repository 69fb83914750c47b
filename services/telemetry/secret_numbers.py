"""Cards, bank accounts and telephone numbers: digits that are personal, told from digits that are not."""

import re
from collections.abc import Callable

from telemetry.secret_patterns import MASK

# Whether there are eight digits close together at all: no card, account or telephone number has fewer.
ENOUGH_DIGITS = re.compile(r"[0-9](?:[ ()./-]{0,2}[0-9]){7}|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}")

_CARD = re.compile(
    r"(?<![\w.+-])(?:[0-9]{12,19}+|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}+|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5}+)"
    r"(?![\w-]|\.[0-9])"
)
# First digits and lengths of the networks (ISO/IEC 7812, the networks' own ranges).
_NETWORKS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}|2(?:2[2-9]|[3-6][0-9]|7[01])[0-9]{13}|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11}|6(?:011|5[0-9]{2}|4[4-9][0-9])[0-9]{12,15}|35[0-9]{14}|62[0-9]{14,17}"
    r"|(?:50|5[6-8]|6[0-9])[0-9]{10,17}"
)
_IBAN = re.compile(r"(?<![\w-])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![\w-])")
_PHONE = re.compile(
    # After a colon only where that follows a word (tel:), not within an address or time; +49… also within a path.
    r"(?:(?<![\w.+/:-])|(?<=[A-Za-z]:)|(?<=/)(?=\+[1-9][0-9]{9}))(?:"
    # International: +49 170 1234567, +1 (555) 123-4567, 0049 30 123456
    r"\+[1-9][0-9]{9,14}+"
    r"|(?:\+|00)[1-9][0-9]{0,2}[ ./-]?(?:\(0\) ?)?(?:\([0-9]{1,5}\)|[0-9]{1,4})(?:[ ./-][0-9]{2,8}){1,5}"
    # North America: (555) 123-4567, 555-123-4567
    r"|\([2-9][0-9]{2}\) ?[0-9]{3}[ .-][0-9]{4}|(?:1[ .-])?[2-9][0-9]{2}([ .-])[0-9]{3}\1[0-9]{4}"
    # With a trunk 0: 06 12 34 56 78, 020 7946 0958, 07700 900123, 030 1234567, 0170/1234567, (030) 123456
    r"|0[1-9](?:([ .-])[0-9]{2})(?:\2[0-9]{2}){3}|0[1-9][0-9]{1,4}([ -])[0-9]{3,4}\3[0-9]{3,4}"
    r"|0[1-9][0-9]{1,4}[ /][0-9]{5,8}|\(0[1-9][0-9]{1,4}\) ?[0-9]{3,4}[ -]?[0-9]{2,5}"
    r")(?![\w-]|[.:][0-9])"
)
_MIN_PHONE_DIGITS = 8
_MAX_PHONE_DIGITS = 15


def mask_numbers(text: str) -> str:
    """``text`` without card numbers (Luhn), IBANs (check digits) and telephone numbers."""
    text = _IBAN.sub(_if(is_iban), text)
    text = _CARD.sub(_if(is_card), text)
    return _PHONE.sub(_if(_is_phone), text)


def is_card(number: str) -> bool:
    """Whether the digits of ``number`` are a card number: range of a network, length, and the Luhn check digit."""
    digits = re.sub("[ -]", "", number)
    if not _NETWORKS.fullmatch(digits) or len(set(digits)) == 1:
        return False
    values = [int(digit) for digit in reversed(digits)]
    doubled = (sum(divmod(2 * value, 10)) for value in values[1::2])
    return (sum(values[::2]) + sum(doubled)) % 10 == 0


def is_iban(number: str) -> bool:
    """Whether ``number`` has the check digits of an IBAN (ISO 13616: modulo 97)."""
    compact = number.replace(" ", "")
    turned = compact[4:] + compact[:4]
    return 15 <= len(compact) <= 34 and int("".join(str(int(c, 36)) for c in turned)) % 97 == 1


def _is_phone(number: str) -> bool:
    digits = sum(c.isdigit() for c in number)
    return _MIN_PHONE_DIGITS <= digits <= _MAX_PHONE_DIGITS


def _if(is_personal: Callable[[str], bool]) -> Callable[[re.Match[str]], str]:
    return lambda match: MASK if is_personal(match[0]) else match[0]
