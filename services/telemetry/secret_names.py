"""Which names of fields, headers, parameters and variables stand for a secret or for personal data."""

import re
from functools import lru_cache
from itertools import pairwise

words = str.split
"""``words("a b c")`` is a list of words, easier to read and to extend than one in quotes and commas."""

# Words of a name. "tokens" is not among them: it is a count (input_tokens), as "token" is not.
_WORDS = frozenset(
    words(
        "password passwd passphrase pwd secret secrets token jwt bearer authorization cookie cookies credential "
        "credentials signature sig apikey otp cvv cvc ssn iban email emails phone telephone"
    )
)
_KEYS = ("api", "private", "access", "secret", "account", "encryption", "signing", "auth", "session")
_PAIRS = frozenset(
    {
        *((first, second) for first in _KEYS for second in ("key", "keys")),
        *((first, "number") for first in ("card", "phone", "mobile")),
        *(("e", "mail"), ("credit", "card"), ("connection", "string")),
    }
)
# Ids that let in whoever has them, as other ids do not; the second is one half of a login at Vault.
_SECRET_IDS = frozenset({("session", "id"), ("secret", "id")})
# Written without a break: dbpassword, clientsecret, sessionid. Ends of the whole name, in lower case.
_ENDS = tuple(
    words(
        "password passwd passphrase clientsecret apikey privatekey accesskey accountkey secretkey accesstoken "
        "authtoken refreshtoken idtoken sessionid setcookie"
    )
)
# What follows the word says that this is about the secret, and not the secret itself: token_type, password_file.
_ABOUT = frozenset(
    words(
        "type kind count counts total length len size bytes seconds ms at name names path file id ids expires expiry "
        "expiration ttl age lifetime present given valid invalid verified required enabled status state policy "
        "strength version url uri endpoint header field domain provider algorithm alg limit budget usage used rate "
        "cost index failures failure error errors exception failed mismatch sent attempts format date time hint"
    )
)
_SPLIT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_MAX_NAME = 200
# Names of headers without a dash.
_HEADERS = frozenset({"authorization", "cookie"})


def is_secret(name: str) -> bool:
    """Whether a value under ``name`` is to be masked, whatever it looks like.

    >>> [is_secret(name) for name in ("DB_PASSWORD", "apiKey", "x-api-key", "input_tokens", "token_type")]
    [True, True, True, False, False]
    """
    # Cut here: whoever makes up long names does not fill the cache with them.
    return _is_secret(name[:_MAX_NAME])


def is_header(name: str) -> bool:
    """Whether ``name`` is that of a header with a secret, which may stand beside its value in a list of pairs.

    >>> [is_header(name) for name in ("Authorization", "x-api-key", "password", "content-type")]
    [True, True, False, False]
    """
    return name.lower() in _HEADERS or ("-" in name and " " not in name and is_secret(name))


@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    parts = [word.lower() for word in _SPLIT.findall(name)]
    if not parts:
        return False
    pairs = set(pairwise(parts))
    if not _SECRET_IDS.isdisjoint(pairs):
        return True
    if parts[-1] in _ABOUT:
        return False
    if not _WORDS.isdisjoint(parts) or not _PAIRS.isdisjoint(pairs):
        return True
    return (parts[-1] == "pass" and len(parts) > 1) or "".join(parts).endswith(_ENDS)
